import t from 'tap';
import { type Readings, SteadyTime, systemClock } from '../src/clock.js';

const HOUR = 3_600_000;

/** A simulated machine: time passes, it sleeps, its clock gets set. */
function machine(known = true) {
  const at = { wall: 1_700_000_000_000, monotonic: 5_000, uptime: 900_000 };
  const readings: Readings = {
    wall: () => at.wall,
    monotonic: () => at.monotonic,
    uptime: () => (known ? Math.floor(at.uptime / 10) * 10 : 0),
  };
  const pass = (ms: number) => {
    at.wall += ms;
    at.monotonic += ms;
    at.uptime += ms;
  };
  const sleep = (ms: number) => {
    at.wall += ms;
    at.uptime += ms;
  };
  const set = (byMs: number) => {
    at.wall += byMs;
  };
  return { time: new SteadyTime(readings), wall: readings.wall, pass, sleep, set };
}

t.test('begins with what the clock shows, and goes on evenly', async (t) => {
  const { time, wall, pass } = machine();
  t.equal(time.now(), wall());
  pass(1_234);
  t.equal(time.now(), wall());
});

for (const byMs of [HOUR, -HOUR, 56 * 365 * 24 * HOUR, -56 * 365 * 24 * HOUR])
  t.test(`does not notice that the clock is set by ${byMs} ms`, async (t) => {
    const { time, pass, set } = machine();
    const before = time.now();
    set(byMs);
    t.equal(time.now(), before);
    pass(1_000);
    t.equal(time.now(), before + 1_000);
    set(-byMs);
    t.equal(time.now(), before + 1_000);
  });

t.test('counts the sleep of its machine, whatever happens to the clock in it', async (t) => {
  const { time, pass, sleep, set } = machine();
  const before = time.now();
  const near = (wanted: number, message: string) => t.ok(Math.abs(time.now() - before - wanted) <= 20, message);
  sleep(HOUR);
  near(HOUR, 'an hour');
  pass(10_000);
  near(HOUR + 10_000, 'and then');
  sleep(2 * HOUR);
  set(-HOUR);
  near(3 * HOUR + 10_000, 'set in its sleep');
  sleep(HOUR);
  set(-HOUR);
  pass(1);
  set(5_000);
  near(4 * HOUR + 10_000, 'set back by as much as it slept: found with the next jump');
});

t.test('where nobody knows for how long it slept, that is no time', async (t) => {
  const { time, pass, sleep } = machine(false);
  const before = time.now();
  sleep(HOUR);
  pass(7);
  t.equal(time.now(), before + 7);
});

t.test('never goes back, a step of the clock included', async (t) => {
  const { time, pass, set } = machine();
  let last = time.now();
  for (let step = 0; step < 50; step += 1) {
    set(step % 2 === 0 ? -400 : 350);
    pass(1);
    t.ok(time.now() >= last);
    last = time.now();
  }
});

t.test('the clock of this machine has whole milliseconds', async (t) => {
  t.equal(systemClock.now() % 1, 0);
  t.ok(Math.abs(systemClock.now() - systemClock.wall()) < HOUR);
});
