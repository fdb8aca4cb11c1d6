import t, { type Test } from 'tap';
import type { Ledger } from '../../src/ledger/ledger.js';
import { engines, expire } from './engines.js';
import { ann, ben, claim, claimIds, claimOne, completed, failed, ids, LEASE_MS, NOW, released, stateOf } from './verbs.js';

for (const engine of engines) {
  const test = (name: string, body: (t: Test, ledger: Ledger) => Promise<void>) =>
    t.test(`${engine.name}: ${name}`, async (t) => body(t, (await engine.open(t, () => 0)).ledger));
  const twin = (id: string, more: object = {}) => ({ id, data: id, key: 'k', ...more });

  test('one of the twins runs, all have its outcome, and their children go on (crew: twins did not wake their own children)', async (t, ledger) => {
    await ledger.add(
      [twin('a'), twin('b', { group: 'g' }), twin('other channel', { channel: 'x' }), { id: 'child', data: 1, parents: ['b'] }],
      NOW,
    );
    const jobs = await claim(ledger);
    t.equal(ids(jobs), 'a');
    await ledger.add([twin('late')], NOW);
    t.equal(await claimIds(ledger), '', 'also one that came while it ran');
    t.match(await ledger.get('b'), { state: 'ready', waiting: 'duplicate-runs' });
    await ledger.settle(ann, [completed(jobs[0] as never, { n: 1 })], NOW);
    for (const id of ['b', 'late']) t.match(await ledger.get(id), { state: 'completed', mergedWith: 'a', settled: { output: { n: 1 } } });
    t.equal(await claimIds(ledger, { channels: ['default', 'x'] }), 'other channel child');
    t.equal((await ledger.settledAfter(0, 10)).length, 3);
  });

  test('paused and blocked twins have the outcome as well', async (t, ledger) => {
    await ledger.putGroup({ id: 'p', paused: true }, NOW);
    await ledger.add([twin('a'), twin('paused', { group: 'p' }), { id: 'parent', data: 1 }, twin('blocked', { parents: ['parent'] })], NOW);
    const [a, parent] = await claim(ledger);
    await ledger.settle(ann, [completed(a as never, 1)], NOW);
    t.match([await stateOf(ledger, 'paused'), await stateOf(ledger, 'blocked')], ['completed', 'completed']);
    await ledger.settle(ann, [completed(parent as never)], NOW);
    t.equal(await stateOf(ledger, 'blocked'), 'completed', 'its parent changes nothing any more');
    t.match(await ledger.counts(), { completed: 4, ready: 0, blocked: 0 });
  });

  test('an error is charged once to each (crew: twice to the one that ran)', async (t, ledger) => {
    await ledger.add([twin('a', { attempts: 3 }), twin('b', { attempts: 2 })], NOW);
    await ledger.settle(ann, [failed(await claimOne(ledger))], NOW);
    t.match(await ledger.get('a'), { state: 'ready', attempts: { made: 1 }, runAt: NOW + 1_000 });
    t.match(await ledger.get('b'), { state: 'ready', attempts: { made: 1 }, runAt: NOW + 1_000 });
    t.equal((await ledger.history('a', 0, 10)).length, 1);
    const again = await claimOne(ledger, { now: NOW + 1_000 });
    t.equal(again.id, 'a');
    await ledger.settle(ann, [failed(again)], NOW + 1_000);
    t.match(await ledger.get('a'), { state: 'ready', attempts: { made: 2 } });
    t.match(await ledger.get('b'), { state: 'failed', attempts: { made: 2 } });
    await ledger.settle(ann, [failed(await claimOne(ledger, { now: NOW + 9_000 }), { retry: false })], NOW + 9_000);
    t.equal(await stateOf(ledger, 'a'), 'failed');
  });

  test('when the one that runs is given back, cancelled or lost, another may run', async (t, ledger) => {
    await ledger.add([twin('a'), twin('b'), twin('c')], NOW);
    let run = await claimOne(ledger);
    t.equal(await claimIds(ledger), '', 'and the others are walked over');
    await ledger.settle(ann, [released(run)], NOW);
    run = await claimOne(ledger);
    t.equal(run.id, 'a');
    await claim(ledger);
    await ledger.cancel(['a'], NOW);
    t.equal(await claimIds(ledger, { worker: ben }), 'b');
    await expire(ledger, NOW + LEASE_MS);
    t.match(await ledger.get('c'), { state: 'ready', attempts: { made: 1 } });
    t.equal(await claimIds(ledger, { worker: ben, now: NOW + LEASE_MS }), 'b');
  });

  test('a window accepts an outcome of the recent past', async (t, ledger) => {
    await ledger.add([twin('a')], NOW);
    await ledger.settle(ann, [completed(await claimOne(ledger), 'old')], NOW);
    await ledger.add([twin('b', { keyWindowMs: 1_000 }), twin('c')], NOW + 1_000);
    t.match(await ledger.get('b'), { state: 'completed', mergedWith: 'a', settled: { output: 'old' } });
    t.equal(await stateOf(ledger, 'c'), 'ready', 'only who asks for it');
    await ledger.add([twin('d', { keyWindowMs: 1_000 })], NOW + 1_001);
    t.equal(await stateOf(ledger, 'd'), 'ready');
  });

  test('a run goes on when its twin is cancelled; its children are its own', async (t, ledger) => {
    await ledger.add([twin('a'), twin('b'), { id: 'child of b', data: 1, parents: ['b'] }], NOW);
    const a = await claimOne(ledger);
    await ledger.cancel(['b'], NOW);
    t.equal(await stateOf(ledger, 'child of b'), 'failed');
    await ledger.settle(ann, [completed(a, 1, { children: [{ id: 'child of a', data: 1 }] })], NOW);
    t.equal(await claimIds(ledger), 'child of a');
    t.match(await ledger.get('b'), { state: 'cancelled' });
  });
}
