import { getEventListeners } from 'node:events';
import t from 'tap';
import { Deadline, within } from '../../src/kit/deadline.js';
import { ManualClock } from '../swarm/manual-clock.js';

t.test('it aborts when the time is over, or with the first of its signals, for its reason', async (t) => {
  const clock = new ManualClock();
  const late = new Deadline({ withinMs: 1_000, clock });
  await clock.pass(999);
  t.notOk(late.signal.aborted);
  await clock.pass(1);
  t.match(late.signal.reason, { name: 'TimeoutError' });

  const [one, two] = [new AbortController(), new AbortController()];
  const either = new Deadline({ signals: [one.signal, undefined, two.signal] });
  two.abort('two');
  one.abort('one');
  t.equal(either.signal.reason, 'two');
  t.equal(new Deadline({ signals: [one.signal] }).signal.reason, 'one', 'what is aborted already counts');

  const own = new Deadline({ withinMs: 1_000, clock });
  own.abort('own');
  await clock.pass(1_000);
  t.equal(own.signal.reason, 'own');
});

t.test('nothing of it is left once it is over, however it ended', async (t) => {
  const timers = new Set<object>();
  const clock = {
    now: () => 0,
    wall: () => 0,
    after: () => {
      const timer = { cancel: () => void timers.delete(timer) };
      timers.add(timer);
      return timer;
    },
  };
  const life = new AbortController();
  const options = { withinMs: 60_000, clock, signals: [life.signal] };
  const remains = () => timers.size + getEventListeners(life.signal, 'abort').length;
  const deadline = new Deadline(options);
  t.equal(remains(), 2);
  deadline.end();
  deadline.end();
  t.equal(remains(), 0);
  new Deadline(options).abort();
  t.equal(remains(), 0);
  t.equal(await within(options, async (signal) => signal.aborted), false);
  await t.rejects(
    within(options, () => Promise.reject(new Error('no'))),
    { message: 'no' },
  );
  t.equal(remains(), 0);
  const other = new AbortController();
  const both = new Deadline({ ...options, signals: [life.signal, other.signal] });
  other.abort();
  t.ok(both.signal.aborted);
  t.equal(remains(), 0);
});
