import t from 'tap';
import { systemClock } from '../../src/clock.js';
import type { Ledger, WorkerRef } from '../../src/ledger/ledger.js';
import { openLedger } from '../../src/ledger/open.js';
import { silentLog } from '../../src/log.js';
import { Dispatch } from '../../src/master/dispatch.js';
import { Maintenance } from '../../src/master/maintenance.js';
import { Results } from '../../src/master/results.js';
import { until } from '../lab/until.js';

const anna = { id: 'a', name: 'anna' };
const berta = { id: 'b', name: 'berta' };

async function setUp(): Promise<{ ledger: Ledger; dispatch: Dispatch }> {
  const ledger = await openLedger('memory:');
  const dispatch = new Dispatch({ ledger, clock: systemClock, log: silentLog, leaseMs: 1_000 });
  return { ledger, dispatch };
}

function ask(dispatch: Dispatch, worker: WorkerRef, capacity: number) {
  return dispatch.request({ worker, capacity, channels: () => ['default'], labels: [] });
}

t.test('a request waits until there is a job, and gets no more than it asked for', async (t) => {
  const { ledger, dispatch } = await setUp();
  const requested = ask(dispatch, anna, 2);
  t.equal(dispatch.waiting, 1);
  await ledger.add([{ data: 1 }, { data: 2 }, { data: 3 }], Date.now());
  dispatch.wake();
  t.equal((await requested).length, 2);
  t.equal(dispatch.waiting, 0);
  await ledger.close();
});

t.test('requests are served in the order they came', async (t) => {
  const { ledger, dispatch } = await setUp();
  const first = ask(dispatch, anna, 1);
  const second = ask(dispatch, berta, 1);
  await ledger.add([{ id: 'one', data: null }], Date.now());
  dispatch.wake();
  t.match(await first, [{ id: 'one' }]);
  await ledger.add([{ id: 'two', data: null }], Date.now());
  dispatch.wake();
  t.match(await second, [{ id: 'two' }]);
  await ledger.close();
});

t.test('a newer request of a worker ends the older, capacity 0 only does that, and no job is lost in between', async (t) => {
  const { ledger, dispatch } = await setUp();
  const older = ask(dispatch, anna, 1);
  const newer = ask(dispatch, anna, 5);
  t.same(await older, []);
  await ledger.add([{ data: 1 }], Date.now());
  dispatch.wake();
  // Withdrawn during a claim: the claimed jobs are still delivered to it.
  await new Promise((resolve) => setImmediate(resolve));
  t.same(await ask(dispatch, anna, 0), []);
  const got = await newer;
  t.equal(got.length + (await ledger.counts()).ready, 1);
  await ledger.close();
});

t.test(
  'jobs that are just being added reach a waiting worker in the same transaction, and a wake in the middle of a claim is not lost',
  async (t) => {
    const { ledger, dispatch } = await setUp();
    const waiting = ask(dispatch, anna, 1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    let added = false;
    const adding = ledger.add([{ id: 'one', data: null }], Date.now()).then(() => {
      added = true;
    });
    dispatch.wake();
    t.match(await waiting, [{ id: 'one' }]);
    t.ok(added, 'not before the job is safe');
    await adding;
    // The claim of this request reaches the ledger before the job does.
    const early = ask(dispatch, anna, 1);
    const late = ledger.add([{ id: 'two', data: null }], Date.now());
    dispatch.wake();
    t.match(await early, [{ id: 'two' }]);
    await late;
    await ledger.close();
  },
);

t.test('many waiting workers do not all ask the ledger for one job', async (t) => {
  const { ledger, dispatch } = await setUp();
  const waiting = Array.from({ length: 50 }, (_, at) => ask(dispatch, { id: `w${at}`, name: 'w' }, 1));
  await new Promise((resolve) => setTimeout(resolve, 50));
  let claims = 0;
  const { claim } = ledger;
  ledger.claim = (...args) => {
    claims += 1;
    return claim.apply(ledger, args);
  };
  await ledger.add([{ id: 'one', data: null }], Date.now());
  dispatch.wake();
  t.match(await waiting[0], [{ id: 'one' }]);
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.ok(claims <= 5, `${claims} claims`);
  await ledger.add(
    Array.from({ length: 49 }, () => ({ data: null })),
    Date.now(),
  );
  dispatch.wake();
  t.equal((await Promise.all(waiting.slice(1))).flat().length, 49, 'and all get what there is');
  await ledger.close();
});

t.test('a closed dispatch answers everybody with nothing', async (t) => {
  const { ledger, dispatch } = await setUp();
  const waiting = ask(dispatch, anna, 1);
  dispatch.close();
  t.same(await waiting, []);
  t.same(await ask(dispatch, berta, 1), []);
  await ledger.close();
});

t.test('the maintenance wakes for delayed jobs and for leases that ended', async (t) => {
  const { ledger, dispatch } = await setUp();
  const maintenance = new Maintenance({ ledger, clock: systemClock, log: silentLog, graceMs: 300, onChange: () => dispatch.wake() });
  maintenance.start();
  const now = Date.now();
  const delayed = ask(dispatch, anna, 1);
  await ledger.add([{ id: 'later', data: null, delayMs: 150 }], now);
  maintenance.wakeBy(now + 150);
  t.match(await delayed, [{ id: 'later' }]);
  t.ok(Date.now() >= now + 150, 'not early');
  // The worker stays silent: after its lease of one second the job goes to another.
  maintenance.wakeBy(Date.now() + 1_000);
  t.match(await ask(dispatch, berta, 1), [{ id: 'later', attempt: 2 }]);
  await maintenance.close();
  await ledger.close();
});

t.test('results are followed from any cursor, each once, until closed', async (t) => {
  const ledger = await openLedger('memory:');
  const results = new Results(ledger);
  const now = Date.now();
  const settle = async (id: string) => {
    await ledger.add([{ id, data: null }], now);
    const [job] = await ledger.claim({ worker: anna, channels: ['default'], limit: 1, until: now + 1_000 }, now);
    const outcome = { state: 'completed', output: id } as const;
    await ledger.settle(anna, [{ id, lease: job?.lease ?? 0, outcome, startedAt: now, finishedAt: now }], now);
    results.wake();
  };
  await settle('one');
  const all: string[] = [];
  const reading = (async () => {
    for await (const { job } of results.follow()) all.push(job.id);
  })();
  await settle('two');
  await settle('three');
  await until(() => all.length >= 3);
  const [first] = await ledger.settledAfter(0, 1);
  const rest: string[] = [];
  const ending = new AbortController();
  for await (const { job } of results.follow({ after: first?.cursor ?? 0, signal: ending.signal })) {
    rest.push(job.id);
    if (rest.length === 2) ending.abort();
  }
  await results.close();
  await reading;
  t.same(all, ['one', 'two', 'three']);
  t.same(rest, ['two', 'three']);
  await ledger.close();
});
