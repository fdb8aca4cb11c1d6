import t from 'tap';
import { MAX_PREFETCH_JOBS, PREFETCH_JOBS } from '../../src/job/limits.js';
import { Awake } from '../../src/master/awake.js';
import { WorkerRates, workerRates } from '../../src/master/worker-rates.js';
import { ManualClock } from '../swarm/manual-clock.js';

t.test('who asks for too much is refused, others are not, and it passes', async (t) => {
  const rates = new WorkerRates();
  const { burst } = workerRates.calls;
  for (let at = 0; at < burst; at += 1) rates.take('a', 'calls', 1, 0);
  t.throws(() => rates.take('a', 'calls', 1, 0), { code: 'rpc-overloaded' });
  rates.take('a', 'leases', 1, 0);
  rates.take('b', 'calls', 1, 0);
  rates.take('a', 'calls', 1, 1);
});

t.test('what is remembered of workers is bounded', async (t) => {
  const rates = new WorkerRates();
  for (let at = 0; at < workerRates.calls.burst; at += 1) rates.take('a', 'calls', 1, 0);
  for (let at = 0; at < 10_000; at += 1) rates.take(`w${at}`, 'calls', 1, 0);
  rates.take('a', 'calls', 1, 0);
  t.pass('the oldest was forgotten');
});

t.test('whoever works fast may hold more, and no longer when it slows down', async (t) => {
  const rates = new WorkerRates();
  t.equal(rates.prefetch('a', 0), PREFETCH_JOBS);
  rates.settled('a', 100, 10);
  t.equal(rates.prefetch('a', 20), PREFETCH_JOBS + 250);
  rates.settled('a', 1_000_000, 30);
  t.equal(rates.prefetch('a', 40), PREFETCH_JOBS + MAX_PREFETCH_JOBS);
  rates.prefetch('a', 10_000);
  t.equal(rates.prefetch('a', 20_000), PREFETCH_JOBS);
});

t.test('a process that stood still knows for how long', async (t) => {
  let now = 0;
  const clock = new ManualClock();
  const late = { now: () => clock.now() + now, wall: () => clock.wall(), after: clock.after.bind(clock) };
  const awake = new Awake(late);
  awake.start();
  await clock.pass(10_000);
  t.equal(awake.takeStalledMs(), 0);
  now += 5_000;
  const first = awake.takeStalledMs();
  t.ok(first >= 4_500 && first <= 5_000, 'also when it is asked before its own turn comes');
  t.equal(awake.takeStalledMs(), 0);
  await clock.pass(10_000);
  t.equal(awake.takeStalledMs(), 0);
  awake.stop();
});
