import t from 'tap';
import type { LeasedJob } from '../../src/ledger/ledger.js';
import { engines } from './engines.js';
import { ann, ben, claim, failed, NOW } from './verbs.js';

for (const engine of engines)
  t.test(`${engine.name}: what a run had made that was cancelled under it is kept, once`, async (t) => {
    const { ledger } = await engine.open(t, () => 0);
    await ledger.add(
      [
        { id: 'a', data: null },
        { id: 'b', data: null },
      ],
      NOW,
    );
    const [a, b] = (await claim(ledger, { limit: 2 })) as [LeasedJob, LeasedJob];
    await ledger.cancel(['a', 'b'], NOW + 9);
    const { cursor } = (await ledger.settledAfter(0, 9)).at(-1) ?? { cursor: 0 };
    t.strictSame(await ledger.settle(ben, [failed(a, { output: 'not his' })], NOW), ['stale']);
    t.strictSame(await ledger.settle(ann, [failed({ ...a, lease: a.lease + 1 }, { output: 'of no run' })], NOW), ['stale']);
    const settlements = [failed(a, { output: { pages: 3 } }), failed(b)];
    t.strictSame(await ledger.settle(ann, settlements, NOW), ['settled', 'stale']);
    t.strictSame(await ledger.settle(ann, [failed(a, { output: 'again' })], NOW), ['duplicate']);
    const settled = { id: 'a', state: 'cancelled', error: { code: 'cancelled' }, output: { pages: 3 }, finishedAt: NOW + 9 };
    t.match((await ledger.get('a'))?.settled, settled);
    t.match(await ledger.settledAfter(cursor, 9), [{ job: settled }], 'whoever follows the ends is told');
    t.equal((await ledger.settledAfter(cursor, 9)).length, 1);
    t.match(await ledger.counts(), { cancelled: 2, failed: 0, leased: 0 });
  });
