import { getEventListeners } from 'node:events';
import t from 'tap';
import { Wake } from '../../src/kit/wake.js';
import { ManualClock, turn } from '../swarm/manual-clock.js';

/** Records when the promise settles. */
function watched(promise: Promise<unknown>): { readonly over: boolean } {
  const state = { over: false };
  void promise.then(() => {
    state.over = true;
  });
  return state;
}

t.test('a wake ends every wait that is open, and none that begins later', async (t) => {
  const wake = new Wake();
  const [one, other] = [watched(wake.wait()), watched(wake.wait())];
  await turn();
  t.same([one.over, other.over], [false, false]);
  wake.wake();
  const later = watched(wake.wait());
  await turn();
  t.same([one.over, other.over, later.over], [true, true, false]);
});

t.test('a wake between a look and the wait is not missed', async (t) => {
  const wake = new Wake();
  const since = wake.count;
  wake.wake();
  await wake.wait({ since });
  t.notOk(watched(wake.wait({ since: wake.count })).over);
});

t.test('a wait ends with its signal, with its time, and leaves nothing behind', async (t) => {
  const clock = new ManualClock();
  const wake = new Wake();
  const life = new AbortController();
  const within = { ms: 1_000, clock };
  const first = watched(wake.wait({ signal: life.signal, within }));
  await clock.pass(999);
  t.notOk(first.over);
  await clock.pass(1);
  t.ok(first.over, 'the time was over');
  const second = watched(wake.wait({ signal: life.signal, within: { ms: Number.POSITIVE_INFINITY, clock } }));
  await clock.pass(1_000_000);
  t.notOk(second.over, 'no end of the time');
  life.abort();
  await turn();
  t.ok(second.over, 'the signal aborted');
  t.equal(getEventListeners(life.signal, 'abort').length, 0);
  await wake.wait({ signal: life.signal });
});

t.test('until a condition holds: looked at with each wake', async (t) => {
  const wake = new Wake();
  let left = 2;
  const end = watched(wake.until(() => left === 0));
  left = 1;
  wake.wake();
  await turn();
  t.notOk(end.over);
  left = 0;
  wake.wake();
  await turn();
  t.ok(end.over);
  const life = new AbortController();
  const given = watched(wake.until(() => false, life.signal));
  life.abort();
  await turn();
  t.ok(given.over, 'or the signal aborts');
});
