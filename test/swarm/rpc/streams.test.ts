import { createHash } from 'node:crypto';
import t from 'tap';
import { PeerworkError } from '../../../src/errors.js';
import { HIGH_WATER_BYTES } from '../../../src/swarm/link.js';
import { STREAM_WINDOW_BYTES } from '../../../src/swarm/rpc/messages.js';
import { MAX_SERVED_STREAMS } from '../../../src/swarm/rpc/served-streams.js';
import { seededRandom } from '../../lab/seeded-random.js';
import { ManualClock, turn } from '../manual-clock.js';
import { openStreamPair, zeros } from '../pair.js';

async function read(stream: AsyncIterable<Uint8Array>): Promise<{ length: number; end: string }> {
  let length = 0;
  try {
    for await (const bytes of stream) length += bytes.length;
    return { length, end: 'complete' };
  } catch (error) {
    return { length, end: error instanceof PeerworkError ? error.code : String(error) };
  }
}

t.test('every byte arrives, in order, however it was cut', async (t) => {
  const random = seededRandom(7);
  const sizes = [
    [],
    [1],
    [0, 0, 3, 0],
    [65_512, 65_512],
    [65_536, 65_536, 65_536],
    [5_000_000],
    Array.from({ length: 3_000 }, () => random.below(3_000)),
  ];
  const contents = sizes.map((list) => list.map((size) => new Uint8Array(Buffer.alloc(size, random.bytes(97)))));
  const { worker } = openStreamPair(t, {
    async *content(index) {
      for (const chunk of contents[Number(index)] ?? []) {
        if (random.below(10) === 0) await turn(1);
        yield chunk;
      }
    },
  });
  await Promise.all(
    contents.map(async (chunks, index) => {
      const [sent, received] = [createHash('sha256'), createHash('sha256')];
      for (const chunk of chunks) sent.update(chunk);
      for await (const bytes of worker.stream('content', index)) {
        received.update(bytes);
        if (random.below(20) === 0) await turn(1);
      }
      t.equal(received.digest('hex'), sent.digest('hex'), `content ${index}`);
    }),
  );
});

t.test('a slow reader slows its stream down, and nothing else', async (t) => {
  let produced = 0;
  const { worker, master } = openStreamPair(t, {
    async *endless() {
      for (;;) {
        yield new Uint8Array(64 * 1024);
        produced += 64 * 1024;
      }
    },
    tiny: () => zeros(100_000, 1),
    quick: () => zeros(10_000_000),
  });
  const slow = worker.stream('endless', null)[Symbol.asyncIterator]();
  await slow.next();
  await turn(200);
  t.ok(produced <= STREAM_WINDOW_BYTES + 2 * HIGH_WATER_BYTES, `${produced} bytes ahead of the reader`);
  t.ok(produced >= STREAM_WINDOW_BYTES, 'but the window is used');
  const before = produced;
  const sentBefore = master.traffic.sent;
  await turn(50);
  t.equal(produced, before);
  t.ok(master.traffic.sent - sentBefore < 1_000, 'it does not poll');
  t.equal(await worker.call('echo', 1), 1);
  t.same(await read(worker.stream('quick', null)), { length: 10_000_000, end: 'complete' });
  for (let count = 0; count < 64; count++) await slow.next();
  await turn(50);
  t.ok(produced > before, 'whoever reads on gets more');
  await slow.return?.();
  t.same(await read(worker.stream('tiny', null)), { length: 100_000, end: 'complete' });
});

t.test('a reader that has enough', async (t) => {
  const ended: string[] = [];
  const { worker } = openStreamPair(t, {
    async *endless(name, signal) {
      try {
        for (;;) yield new Uint8Array(10_000);
      } finally {
        ended.push(`${name} ${signal.aborted} ${signal.reason?.code}`);
      }
    },
    async *stuck(name, signal) {
      yield new Uint8Array(1);
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      ended.push(`${name} ${signal.reason?.code}`);
    },
  });
  for await (const bytes of worker.stream('endless', 'break')) {
    t.ok(bytes.length > 0);
    break;
  }
  await turn();
  t.same(ended.splice(0), ['break true rpc-cancelled'], 'the source is closed');
  for (const verb of ['endless', 'stuck']) {
    const controller = new AbortController();
    const reading = read(worker.stream(verb, verb, { signal: controller.signal }));
    await turn();
    controller.abort();
    t.match(await reading, { end: 'rpc-cancelled' });
    await turn();
    t.match(ended.splice(0), [/^\w+ .*rpc-cancelled$/]);
  }
  t.same(await read(worker.stream('endless', 'never', { signal: AbortSignal.abort() })), { length: 0, end: 'rpc-cancelled' });
  await turn();
  t.same(ended, [], 'and is never opened if it was not wanted any more');
});

t.test('a source that fails', async (t) => {
  const { worker } = openStreamPair(t, {
    async *halfway() {
      yield* zeros(300_000);
      throw new PeerworkError('asset-unknown', 'gone');
    },
    async *bug() {
      yield new Uint8Array(5);
      throw new Error('private');
    },
    atOnce() {
      throw new PeerworkError('asset-unknown');
    },
  });
  t.same(await read(worker.stream('halfway', null)), { length: 300_000, end: 'asset-unknown' }, 'what came before is delivered');
  t.same(await read(worker.stream('bug', null)), { length: 5, end: 'rpc-failed' });
  t.same(await read(worker.stream('atOnce', null)), { length: 0, end: 'asset-unknown' });
});

t.test('many at once, to a limit', async (t) => {
  const { worker } = openStreamPair(t, {
    file: () => zeros(3_000_000),
    hang: (_, signal) => hanging(signal),
  });
  const finished: number[] = [];
  await Promise.all(
    [0, 1, 2, 3].map(async (index) => {
      t.match(await read(worker.stream('file', null)), { length: 3_000_000, end: 'complete' });
      finished.push(index);
    }),
  );
  const controller = new AbortController();
  const hangs = Array.from({ length: MAX_SERVED_STREAMS }, () => read(worker.stream('hang', null, { signal: controller.signal })));
  t.same(await read(worker.stream('file', null)), { length: 0, end: 'rpc-overloaded' });
  controller.abort();
  await Promise.all(hangs);
  t.match(await read(worker.stream('file', null)), { end: 'complete' }, 'all of them are given back');
});

async function* hanging(signal: AbortSignal): AsyncGenerator<Uint8Array> {
  await new Promise((resolve) => signal.addEventListener('abort', resolve));
}

t.test('a link that is lost amid a stream', async (t) => {
  const { worker, wire } = openStreamPair(t, { endless: () => zeros(Number.MAX_SAFE_INTEGER) });
  const iterator = worker.stream('endless', null)[Symbol.asyncIterator]();
  await iterator.next();
  await turn(50);
  for (const link of [wire.a, wire.b]) link.close(new PeerworkError('link-lost', 'cable'));
  let length = 0;
  await t.rejects(
    (async () => {
      for (;;) length += (await iterator.next()).value?.length ?? 0;
    })(),
    { code: 'link-lost' },
  );
  t.ok(length > 1_000_000, 'what has arrived is delivered first, so that it need not be fetched again');
});

t.test('40 MiB through a slow link delay neither the heartbeat nor a call', async (t) => {
  const clock = new ManualClock();
  const bytesPerSecond = 1_000_000;
  const total = 40 * 1024 * 1024;
  const { worker, master, wire } = openStreamPair(t, { asset: () => zeros(total) }, { clock, bytesPerSecond });
  const reading = read(worker.stream('asset', null));
  let slowestMs = 0;
  let mostBuffered = 0;
  let calls = 0;
  let asking = true;
  const asker = (async () => {
    while (asking) {
      const askedAt = clock.now();
      await worker.call('echo', 'x');
      slowestMs = Math.max(slowestMs, clock.now() - askedAt);
      mostBuffered = Math.max(mostBuffered, wire.a.bufferedBytes);
      calls++;
    }
  })();
  for (let second = 0; second < 46 && !wire.b.closed; second++) {
    await clock.pass(1_000);
    if (second === 20)
      t.ok((master.roundTripMs ?? Number.POSITIVE_INFINITY) < 700 && (worker.roundTripMs ?? Number.POSITIVE_INFINITY) < 700);
  }
  t.same(await reading, { length: total, end: 'complete' }, 'in no more time than the link needs');
  asking = false;
  await clock.pass(100);
  await asker;
  t.ok(calls > 100);
  const fullBufferMs = (1000 * (HIGH_WATER_BYTES + 64 * 1024)) / bytesPerSecond;
  t.ok(slowestMs <= fullBufferMs + 100, `the slowest call took ${slowestMs} ms`);
  t.ok(mostBuffered <= HIGH_WATER_BYTES + 128 * 1024, `${mostBuffered} bytes wait in the link`);
});
