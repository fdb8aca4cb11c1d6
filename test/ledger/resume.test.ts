import t, { type Test } from 'tap';
import type { Ledger, LedgerChange } from '../../src/ledger/ledger.js';
import { engines } from './engines.js';
import { ann, ben, claim, claimOne, completed, failed, LEASE_MS, NOW, released } from './verbs.js';

/** Leases that expired in silence: a suspended machine, a broken link. */
for (const engine of engines) {
  const test = (name: string, body: (t: Test, ledger: Ledger) => Promise<void>) =>
    t.test(`${engine.name}: ${name}`, async (t) => body(t, (await engine.open(t, () => 0)).ledger));
  const later = NOW + LEASE_MS;
  const until = later + LEASE_MS;

  test('who returns in time goes on under the same number, uncharged', async (t, ledger) => {
    await ledger.add([{ id: 'a', data: 1, attempts: 2 }], NOW);
    const run = await claimOne(ledger);
    t.match(await ledger.maintain(later), { expired: 1 });
    t.match(await ledger.get('a'), { state: 'ready', attempts: { made: 1 }, error: { code: 'lease-expired' } });
    const waiting = await ledger.get('a');
    t.notOk(waiting !== undefined && ('leaseUntil' in waiting || 'startedAt' in waiting || 'worker' in waiting), 'nobody has it');
    const changes: LedgerChange[] = [];
    ledger.watch((change) => changes.push(change));
    t.strictSame(await ledger.extend(ann, [run], until, later), []);
    const resumed = await ledger.get('a');
    t.match(resumed, { state: 'leased', lease: 1, worker: ann, leaseUntil: until, startedAt: NOW, attempts: { made: 0 } });
    t.notOk(resumed?.error);
    t.match(changes, [{ jobs: [{ id: 'a', state: 'leased' }], dueAt: until }]);
    t.strictSame(await claim(ledger, { worker: ben, now: later }), [], 'and nobody else gets it');
    t.match(await ledger.counts(), { leased: 1, ready: 0 });
    t.strictSame(await ledger.settle(ann, [completed(run, 'x')], later), ['settled']);
    t.match(await ledger.get('a'), { state: 'completed', settled: { attempts: 1, output: 'x' } });
  });

  test('a greeting resumes as a beat does, and an outcome counts without either', async (t, ledger) => {
    await ledger.add(
      ['a', 'b', 'c', 'd'].map((id) => ({ id, data: 1 })),
      NOW,
    );
    const runs = await claim(ledger);
    const [a, b, c, d] = runs as [(typeof runs)[0], (typeof runs)[0], (typeof runs)[0], (typeof runs)[0]];
    await ledger.maintain(later);
    t.strictSame(await ledger.reconcile(ann, [a], until, { charge: true }, later), []);
    t.match(await ledger.get('a'), { state: 'leased', attempts: { made: 0 } });
    t.match(await ledger.get('b'), { state: 'ready', attempts: { made: 1 } }, 'what it does not hold is not its');
    t.strictSame(await ledger.settle(ann, [completed(b), failed(c, { retry: false }), released(d)], later), [
      'settled',
      'settled',
      'settled',
    ]);
    t.match(await ledger.get('b'), { state: 'completed', settled: { attempts: 1 } });
    t.match(await ledger.get('c'), { state: 'failed', settled: { attempts: 1, error: { code: 'task-threw' } } });
    t.match(await ledger.get('d'), { state: 'ready', attempts: { made: 0 } });
    t.strictSame(await ledger.extend(ann, [d], until, later), [{ id: 'd', lease: 1 }], 'what was given back is not resumed');
  });

  test('what somebody else was given, what was cancelled, begun anew or has failed is lost', async (t, ledger) => {
    await ledger.add(
      [
        { id: 'given', data: 1, priority: 1 },
        { id: 'cancelled', data: 1 },
        { id: 'reset', data: 1 },
        { id: 'last', data: 1, attempts: 1 },
      ],
      NOW,
    );
    const runs = await claim(ledger);
    await ledger.maintain(later);
    await claimOne(ledger, { worker: ben, now: later });
    await ledger.cancel(['cancelled'], later);
    await ledger.reset(['reset'], later);
    const keys = runs.map(({ id, lease }) => ({ id, lease }));
    t.strictSame(await ledger.extend(ann, keys, until, later), keys);
    t.match(await ledger.get('given'), { worker: ben, lease: 2 });
    t.match(await ledger.get('last'), { state: 'failed', settled: { error: { code: 'lease-expired' } } });
    t.strictSame(
      await ledger.settle(
        ann,
        runs.map((run) => completed(run)),
        later,
      ),
      Array(4).fill('stale'),
    );
  });

  test('no twin runs beside it, and a full workgroup stays within its limit', async (t, ledger) => {
    await ledger.putWorkgroup({ id: 'w', maxRunning: 1 }, NOW);
    await ledger.add(
      [
        { id: 'twin', data: 1, key: 'k' },
        { id: 'one', data: 1, workgroup: 'w' },
      ],
      NOW,
    );
    const runs = await claim(ledger);
    await ledger.maintain(later);
    await ledger.add(
      [
        { id: 'other twin', data: 1, key: 'k', priority: 1 },
        { id: 'another', data: 1, workgroup: 'w', priority: 1 },
      ],
      later,
    );
    t.equal((await claim(ledger, { worker: ben, now: later })).length, 2);
    const keys = runs.map(({ id, lease }) => ({ id, lease }));
    t.strictSame(await ledger.extend(ann, keys, until, later), keys);
    t.match(await ledger.counts(), { leased: 2, ready: 2 });
  });

  test('silence is no time of the run, and a run that was over its time is not resumed', async (t, ledger) => {
    await ledger.add(
      [
        { id: 'slept', data: 1, timeoutMs: 60_000 },
        { id: 'late', data: 1, timeoutMs: 5_000, backoffMs: 0 },
      ],
      NOW,
    );
    const runs = await claim(ledger);
    t.match(await ledger.maintain(later), { expired: 1, late: 1 });
    const hour = later + 3_600_000;
    const keys = runs.map(({ id, lease }) => ({ id, lease }));
    t.strictSame(await ledger.extend(ann, keys, hour + LEASE_MS, hour), [{ id: 'late', lease: 1 }]);
    t.match(await ledger.get('slept'), { state: 'leased', leaseUntil: hour + LEASE_MS });
  });
}
