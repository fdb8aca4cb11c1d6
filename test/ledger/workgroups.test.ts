import t, { type Test } from 'tap';
import type { Ledger } from '../../src/ledger/ledger.js';
import { engines, expire, nextWakeAt } from './engines.js';
import { ann, claim, claimIds, claimOne, completed, failed, ids, LEASE_MS, NOW, released } from './verbs.js';

for (const engine of engines) {
  const test = (name: string, body: (t: Test, ledger: Ledger) => Promise<void>) =>
    t.test(`${engine.name}: ${name}`, async (t) => body(t, (await engine.open(t, () => 0)).ledger));
  const job = (id: string, more: object = {}) => ({ id, data: null, workgroup: 'w', ...more });

  test('a settlement holds its workgroup; later jobs obey, others go on, running ones too', async (t, ledger) => {
    await ledger.add([job('a'), job('b'), job('c'), { id: 'free', data: null }], NOW);
    const [a, b] = (await claim(ledger, { limit: 2 })) as [never, never];
    await ledger.settle(ann, [completed(a, 1, { holdMs: 10_000 })], NOW);
    await ledger.add([job('later', { priority: 5 })], NOW + 1);
    t.equal(await claimIds(ledger, { now: NOW + 9_999 }), 'free');
    t.match(await ledger.get('c', NOW), { waiting: 'workgroup-held' });
    t.match(await ledger.getWorkgroup('w'), { heldUntil: NOW + 10_000, running: 1 });
    t.strictSame(await ledger.settle(ann, [completed(b)], NOW + 1), ['settled']);
    t.equal(await nextWakeAt(ledger, NOW + 1), NOW + 10_000);
    t.ok((await ledger.maintain(NOW + 10_000)).changed);
    t.equal(await claimIds(ledger, { now: NOW + 10_000 }), 'later c');
  });

  test('a hold never pulls work forward, nor an earlier hold (crew: tomorrow’s task ran at once)', async (t, ledger) => {
    await ledger.add([job('a'), job('tomorrow', { delayMs: 86_400_000 })], NOW);
    const a = await claimOne(ledger);
    await ledger.holdWorkgroup('w', NOW + 50_000, NOW);
    await ledger.settle(ann, [failed(a, { holdMs: 35_000 })], NOW);
    t.match(await ledger.get('tomorrow'), { runAt: NOW + 86_400_000 });
    t.match(await ledger.get('a', NOW + 1_000), { runAt: NOW + 1_000, waiting: 'workgroup-held' });
    t.match(await ledger.getWorkgroup('w'), { heldUntil: NOW + 50_000 });
    t.equal(await claimIds(ledger, { now: NOW + 49_999 }), '');
    await ledger.maintain(NOW + 50_000, { keepLeases: true });
    t.equal(await claimIds(ledger, { now: NOW + 50_000 }), 'a');
  });

  test('a hold can be ended', async (t, ledger) => {
    await ledger.add([job('a')], NOW);
    await ledger.holdWorkgroup('w', NOW + 50_000, NOW);
    t.equal(await claimIds(ledger), '');
    t.equal((await ledger.releaseWorkgroup('w', NOW))?.heldUntil, undefined);
    t.equal(await claimIds(ledger), 'a');
    t.equal(await ledger.releaseWorkgroup('nobody', NOW), undefined);
  });

  test('maxRunning: slots are given on when a run ends, however it ends', async (t, ledger) => {
    await ledger.putWorkgroup({ id: 'w', maxRunning: 2 }, NOW);
    await ledger.add(
      [...'abcdefg'].map((id) => job(id)),
      NOW,
    );
    await ledger.add([{ id: 'free', data: null, attempts: 1 }], NOW);
    const [a, b, free] = (await claim(ledger)) as [never, never, never];
    t.equal(ids([a, b, free]), 'a b free', 'others are not held up');
    t.match(await ledger.get('c'), { waiting: 'workgroup-full' });
    await ledger.settle(ann, [completed(a), failed(b, { retry: false })], NOW);
    const [c, d] = (await claim(ledger)) as [never, never, never];
    t.equal(ids([c, d]), 'c d');
    await ledger.settle(ann, [released(c)], NOW);
    t.equal(await claimIds(ledger), 'c');
    await ledger.cancel(['d'], NOW);
    t.equal(await claimIds(ledger), 'e');
    await ledger.delete(['e'], NOW);
    t.equal(await claimIds(ledger), 'f');
    await expire(ledger, NOW + LEASE_MS);
    t.equal(await claimIds(ledger, { now: NOW + LEASE_MS }), 'c f', 'lost ones are at the front again');
    t.match(await ledger.getWorkgroup('w'), { running: 2, maxRunning: 2 });
    await ledger.putWorkgroup({ id: 'w', maxRunning: null }, NOW + LEASE_MS);
    t.equal(await claimIds(ledger, { now: NOW + LEASE_MS }), 'g');
  });

  test('a limit holds in one batch, across channels and labels', async (t, ledger) => {
    await ledger.putWorkgroup({ id: 'w', maxRunning: 3 }, NOW);
    await ledger.add(
      Array.from({ length: 300 }, (_, at) => job(`j${at}`, { channel: `c${at % 3}`, requires: at % 2 === 0 ? ['gpu'] : [] })),
      NOW,
    );
    const channels = ['c0', 'c1', 'c2'];
    t.equal((await claim(ledger, { channels, limit: 200 })).length, 3);
    t.equal((await claim(ledger, { channels, labels: ['gpu'], limit: 200 })).length, 0);
  });

  test('rate: so many starts in a period', async (t, ledger) => {
    await ledger.putWorkgroup({ id: 'w', rate: 2, periodMs: 1_000 }, NOW);
    await ledger.add(
      [...'abcde'].map((id) => job(id)),
      NOW,
    );
    const [a, b] = (await claim(ledger)) as [never, never];
    t.equal(ids([a, b]), 'a b');
    await ledger.settle(ann, [completed(a), completed(b)], NOW + 10);
    t.equal(await claimIds(ledger, { now: NOW + 999 }), '');
    t.equal(await nextWakeAt(ledger, NOW + 999), NOW + 1_000);
    t.ok((await ledger.maintain(NOW + 1_000)).changed);
    t.equal(await claimIds(ledger, { now: NOW + 1_000 }), 'c d');
  });

  test('what cannot be a workgroup', async (t, ledger) => {
    for (const bad of [
      { id: '' },
      { id: 'w', maxRunning: 0 },
      { id: 'w', rate: 1 },
      { id: 'w', periodMs: 5 },
      { id: 'w', maxRunning: '3' },
    ])
      await t.rejects(ledger.putWorkgroup(bad as never, NOW), { code: 'workgroup-invalid' });
    await t.rejects(ledger.holdWorkgroup('w', -1, NOW), { code: 'workgroup-invalid' });
    for (const id of ['v', 'w', 'x']) await ledger.putWorkgroup({ id }, NOW);
    const page = await ledger.listWorkgroups({ limit: 2 });
    t.equal(ids(page.workgroups), 'v w');
    t.equal(ids((await ledger.listWorkgroups({ limit: 2, after: page.next as string })).workgroups), 'x');
  });
}
