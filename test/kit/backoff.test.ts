import t from 'tap';
import { Backoff, backoffMs, retry } from '../../src/kit/backoff.js';
import { ManualClock } from '../swarm/manual-clock.js';

t.test('waits double up to the cap, a quarter more or less', async (t) => {
  const least = new Backoff({ firstMs: 500, capMs: 8000, random: () => 0 });
  t.same(
    [1, 2, 3, 4, 5, 6].map(() => least.nextMs()),
    [375, 750, 1500, 3000, 6000, 6000],
  );
  t.equal(least.failures, 6);
  const most = new Backoff({ firstMs: 500, capMs: 8000, random: () => 1 });
  t.equal(most.nextMs(), 625);
  most.nextMs();
  most.reset();
  t.equal(most.failures, 0);
  t.equal(most.nextMs(), 625);
});

t.test('without randomness a wait is exactly as long, by whatever factor it grows', async (t) => {
  const backoff = new Backoff({ firstMs: 300, capMs: 5_000, factor: 3 });
  t.same(
    [1, 2, 3, 4, 5].map(() => backoff.nextMs()),
    [300, 900, 2_700, 5_000, 5_000],
  );
  t.equal(backoffMs(1_000_000, { firstMs: 1, capMs: 60_000 }), 60_000);
  t.equal(backoffMs(5, { firstMs: 0, capMs: 60_000 }), 0);
});

const backoff = () => new Backoff({ firstMs: 100, capMs: 1_000 });

t.test('it is tried again after each wait until it succeeds', async (t) => {
  const clock = new ManualClock();
  const times: number[] = [];
  const startedAt = clock.now();
  const result = retry(
    async () => {
      times.push(clock.now() - startedAt);
      if (times.length < 3) throw new Error('away');
      return 'there';
    },
    { clock, backoff: backoff() },
  );
  await clock.pass(0);
  await clock.pass(10_000);
  t.equal(await result, 'there');
  t.same(times, [0, 100, 300]);
});

t.test('the last error is what it rejects with: no tries are left, no further one may help, or the signal aborts', async (t) => {
  const clock = new ManualClock();
  let tries = 0;
  const fail = async () => {
    tries += 1;
    throw new Error(`try ${tries}`);
  };
  const limited = retry(fail, { clock, backoff: backoff(), tries: 2 }).catch((error: Error) => error.message);
  await clock.pass(0);
  await clock.pass(10_000);
  t.equal(await limited, 'try 2');
  await t.rejects(retry(fail, { clock, backoff: backoff(), isPassing: () => false }), { message: 'try 3' });
  const life = new AbortController();
  const withdrawn = retry(fail, { clock, backoff: backoff(), signal: life.signal }).catch((error: Error) => error.message);
  await clock.pass(0);
  life.abort();
  t.equal(await withdrawn, 'try 4', 'without waiting for the time');
});
