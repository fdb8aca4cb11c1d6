import t from 'tap';
import { Pace } from '../../../src/swarm/rpc/pace.js';
import { ManualClock } from '../manual-clock.js';
import { openPair, zeros } from '../pair.js';

/** Simulates a path with a round trip of `delayMs` behind a link of limited bytes per millisecond, kept full by the sender. */
async function fill(
  pace: Pace,
  clock: ManualClock,
  bytesPerMs: number,
  delayMs: number,
  forMs: number,
): Promise<{ carried: number; mostWaiting: number }> {
  let freeAt = clock.now();
  const startedAt = clock.now();
  let sent = 0;
  let mostWaiting = 0;
  while (clock.now() < startedAt + forMs) {
    while (pace.roomBytes > 0) {
      const bytes = Math.min(16 * 1024, Math.floor(pace.pieceBytes));
      const pings = pace.isDue(bytes);
      pace.sent(bytes);
      sent += bytes;
      freeAt = Math.max(freeAt, clock.now()) + bytes / bytesPerMs;
      if (!pings) continue;
      const id = pace.mark();
      clock.after(freeAt + delayMs - clock.now(), () => pace.pong(id));
    }
    pace.full();
    // Only the second half is measured.
    if (clock.now() > startedAt + forMs / 2) mostWaiting = Math.max(mostWaiting, freeAt - clock.now());
    await clock.pass(10);
  }
  return { carried: sent, mostWaiting };
}

for (const [mbit, delayMs] of [
  [1, 200],
  [2, 200],
  [0.5, 40],
  [20, 100],
] as const)
  t.test(`a line of ${mbit} Mbit/s with a round trip of ${delayMs} ms is full, and little waits before it`, async (t) => {
    const clock = new ManualClock();
    const pace = new Pace(clock);
    const bytesPerMs = mbit * 125;
    const forMs = 40_000;
    const { carried, mostWaiting } = await fill(pace, clock, bytesPerMs, delayMs, forMs);
    t.ok(carried >= 0.9 * bytesPerMs * forMs, `${Math.round((100 * carried) / (bytesPerMs * forMs))} % of what it can carry`);
    t.ok(mostWaiting < 1_000, `${Math.round(mostWaiting)} ms wait before it`);
    t.ok(Math.abs((pace.bytesPerMs ?? 0) / bytesPerMs - 1) < 0.2, `measured ${pace.bytesPerMs}`);
  });

t.test('a line that becomes slower or farther is followed', async (t) => {
  const clock = new ManualClock();
  const pace = new Pace(clock);
  await fill(pace, clock, 1_250, 20, 30_000);
  const { carried, mostWaiting } = await fill(pace, clock, 125, 300, 60_000);
  t.ok(carried >= 0.8 * 125 * 60_000);
  t.ok(mostWaiting < 1_500, `${Math.round(mostWaiting)} ms`);
});

t.test('a peer that answers no ping costs no memory, and gets no more than a window', async (t) => {
  const clock = new ManualClock();
  const pace = new Pace(clock);
  for (let count = 0; count < 10_000; count += 1) pace.mark();
  pace.pong(1);
  t.equal(pace.roundTripMs, undefined, 'the oldest are forgotten');
  pace.sent(pace.windowBytes);
  t.equal(pace.roomBytes, 0);
  pace.pong(12_345_678);
  t.equal(pace.roomBytes, 0, 'an answer to nothing is none');
});

t.test('what is urgent waits for no more than is under way, letters not for bulk', async (t) => {
  const clock = new ManualClock();
  const { worker, wire } = openPair(
    {
      calls: { echo: (args) => args },
      streams: {
        take: (_args, _signal, upload) => upload,
      },
    },
    {},
    { clock, bytesPerSecond: 125_000 },
  );
  t.teardown(() => wire.a.close());
  void (async () => {
    for await (const _ of worker.stream('take', null, { upload: zeros(8_000_000) }));
  })().catch(() => {});
  await clock.pass(15_000);
  const askedAt = clock.now();
  let answeredAt = 0;
  void worker.call('echo', 'urgent').then(() => {
    answeredAt = clock.now();
  });
  await clock.pass(3_000);
  t.ok(answeredAt > 0 && answeredAt - askedAt < 700, `answered after ${answeredAt - askedAt} ms, while megabytes wait`);
  t.ok(wire.b.bufferedBytes < 64 * 1024, `${wire.b.bufferedBytes} bytes lie in the link`);
});

t.test('a call is given time as long as it waits behind others that move, and no longer', async (t) => {
  const clock = new ManualClock();
  const { worker, wire } = openPair(
    { calls: { echo: (args) => args, size: (args) => String(args).length, never: () => new Promise(() => {}) } },
    {},
    { clock, bytesPerSecond: 50_000 },
  );
  t.teardown(() => wire.a.close());
  const ends: string[] = [];
  const watch = (name: string, call: Promise<unknown>) =>
    void call.then(
      () => ends.push(`${name} answered`),
      (error: { code: string }) => ends.push(`${name} ${error.code}`),
    );
  // 60 s of the link's capacity.
  watch('large', worker.call('size', 'x'.repeat(3_000_000), { timeoutMs: 5_000 }));
  watch('behind', worker.call('echo', 1, { timeoutMs: 5_000 }));
  watch('never', worker.call('never', 1, { timeoutMs: 5_000 }));
  await clock.pass(50_000);
  t.strictSame(ends, [], 'ten times the limit, and none is given up');
  await clock.pass(30_000);
  t.strictSame(ends.sort(), ['behind answered', 'large answered', 'never rpc-timeout']);
  ends.length = 0;
  watch('largeAnswer', worker.call('echo', 'y'.repeat(1_000_000), { timeoutMs: 5_000 }));
  await clock.pass(60_000);
  t.strictSame(ends, ['largeAnswer answered'], 'nor while a large answer is on its way');
  watch('stuck', worker.call('size', 'x'.repeat(3_000_000), { timeoutMs: 1_000 }));
  await clock.pass(500);
  wire.tamper = () => [];
  await clock.pass(2_500);
  t.strictSame(ends, ['largeAnswer answered', 'stuck rpc-timeout'], 'when nothing moves, it is');
});
