import t from 'tap';
import { Heartbeat, SILENCE_MS, WORKER_QUIET_MS } from '../../../src/swarm/rpc/heartbeat.js';
import { ManualClock, turn } from '../manual-clock.js';
import { openPair } from '../pair.js';

t.test('a dead link is found within four seconds, a live one never', async (t) => {
  for (const aliveMs of [0, 1, 250, 499, 500, 501, 999, 60_000]) {
    const clock = new ManualClock();
    const { wire, master, worker } = openPair({}, {}, { clock });
    const ends: [string, number][] = [];
    for (const [name, end] of [
      ['master', master],
      ['worker', worker],
    ] as const)
      void end.closed.then((error) => ends.push([`${name} ${error.message}`, clock.now()]));
    // The first replies arrive before time passes; otherwise the link would seem that slow.
    await turn();
    await clock.pass(aliveMs);
    t.same(ends, []);
    wire.cut();
    const deadAt = clock.now();
    await clock.pass(4_000);
    t.equal(ends.length, 2, `dead after ${aliveMs} ms`);
    for (const [how, at] of ends) {
      t.match(how, /fell silent/);
      // It may have been silent for up to 2 s when it died.
      t.ok(at - deadAt >= SILENCE_MS - 2_000 && at - deadAt <= 4_000, `found after ${at - deadAt} ms`);
    }
    await clock.pass(1_000);
    t.ok(wire.a.closed && wire.b.closed);
  }
});

t.test('an idle link says little, and the round trip is known', async (t) => {
  const clock = new ManualClock();
  const { wire, worker, master } = openPair({}, {}, { clock, bytesPerSecond: 1_000 });
  await clock.pass(10_000);
  let messages = 0;
  wire.tamper = (message) => {
    messages++;
    return [message];
  };
  await clock.pass(60_000);
  t.ok(messages >= 60 && messages <= 180, `${messages} frames in a minute, both ways`);
  // 24 bytes each way at 1000 bytes a second.
  for (const end of [worker, master]) t.ok((end.roundTripMs ?? 0) >= 40 && (end.roundTripMs ?? 0) <= 80, `${end.roundTripMs} ms`);
  wire.a.close();
  await turn();
});

function lonely(clock: ManualClock): { readonly heartbeat: Heartbeat; readonly pings: number[]; readonly lost: number[] } {
  const pings: number[] = [];
  const lost: number[] = [];
  const heartbeat = new Heartbeat({
    clock,
    quietMs: WORKER_QUIET_MS,
    ping: () => void pings.push(clock.now()),
    lost: () => void lost.push(clock.now()),
  });
  heartbeat.start();
  return { heartbeat, pings, lost };
}

t.test('who was suspended does not blame the link', async (t) => {
  for (const suspendedMs of [3_000, 60_000, 86_400_000]) {
    const clock = new ManualClock();
    const { heartbeat, lost } = lonely(clock);
    await clock.pass(2_000);
    heartbeat.received();
    clock.jump(suspendedMs);
    await clock.pass(400);
    t.same(lost, [], 'the first timers fire before what arrived meanwhile is read');
    heartbeat.received();
    await clock.pass(2_900);
    t.same(lost, []);
    await clock.pass(1_000);
    t.equal(lost.length, 1, 'but a link that is dead afterwards is found as ever');
  }
});

t.test('a clock that is set back does no harm', async (t) => {
  const clock = new ManualClock();
  const { lost } = lonely(clock);
  await clock.pass(1_000);
  const now = clock.now.bind(clock);
  clock.now = () => now() - 3_600_000;
  await clock.pass(4_000);
  t.equal(lost.length, 1);
});

t.test('says something after a second of saying nothing, and not before', async (t) => {
  const clock = new ManualClock();
  const { heartbeat, pings } = lonely(clock);
  for (let count = 0; count < 40; count++) {
    await clock.pass(100);
    heartbeat.received();
    heartbeat.sent();
  }
  t.equal(pings.length, 1, 'only the first, that measures');
  for (let count = 0; count < 20; count++) {
    await clock.pass(100);
    heartbeat.received();
  }
  t.ok(pings.length >= 2, 'however much is heard');
  heartbeat.stop();
});
