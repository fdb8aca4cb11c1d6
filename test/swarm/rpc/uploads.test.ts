import { createHash } from 'node:crypto';
import t from 'tap';
import { systemClock } from '../../../src/clock.js';
import { PeerworkError } from '../../../src/errors.js';
import { silentLog } from '../../../src/log.js';
import { nodePrimitives } from '../../../src/swarm/crypto.node.js';
import { HIGH_WATER_BYTES } from '../../../src/swarm/link.js';
import type { RpcHandlers } from '../../../src/swarm/peer.js';
import { Kind, STREAM_WINDOW_BYTES, UPLOAD_WINDOW_BYTES, uint32, writeHeader } from '../../../src/swarm/rpc/messages.js';
import { RpcSession } from '../../../src/swarm/rpc/session.js';
import { SealedLink } from '../../../src/swarm/sealed.js';
import { seededRandom } from '../../lab/seeded-random.js';
import { ManualClock, turn } from '../manual-clock.js';
import { MemoryWire } from '../memory-link.js';
import { openStreamPair, pairedHandshakes, zeros } from '../pair.js';

async function* echo(_args: unknown, _signal: AbortSignal, upload: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* upload;
}

async function length(stream: AsyncIterable<Uint8Array>): Promise<number> {
  let sum = 0;
  for await (const bytes of stream) sum += bytes.length;
  return sum;
}

async function endOf(stream: AsyncIterable<Uint8Array>): Promise<string> {
  try {
    await length(stream);
    return 'complete';
  } catch (error) {
    return error instanceof PeerworkError ? error.code : String(error);
  }
}

t.test('every byte goes there and back, in order, however it was cut, on many streams at once', async (t) => {
  const random = seededRandom(11);
  const { worker } = openStreamPair(t, { echo });
  const sizes = [[], [1], [0, 0, 5, 0], [65_528], [3_000_000], Array.from({ length: 2_000 }, () => random.below(4_000))];
  await Promise.all(
    sizes.map(async (list, index) => {
      const chunks = list.map((size) => new Uint8Array(Buffer.alloc(size, random.bytes(89))));
      const [sent, received] = [createHash('sha256'), createHash('sha256')];
      for (const chunk of chunks) sent.update(chunk);
      async function* upload() {
        for (const chunk of chunks) {
          if (random.below(50) === 0) await turn(1);
          yield chunk;
        }
      }
      for await (const bytes of worker.stream('echo', null, { upload: upload() })) received.update(bytes);
      t.equal(received.digest('hex'), sent.digest('hex'), `content ${index}`);
    }),
  );
});

t.test('each direction ends by itself', async (t) => {
  let uploaded: Promise<number> | undefined;
  const { worker } = openStreamPair(t, {
    async *answerFirst(_args, _signal, upload) {
      uploaded = length(upload);
      yield new Uint8Array(10);
    },
    async *uploadFirst(_args, _signal, upload) {
      yield* zeros(await length(upload));
    },
  });
  let answered = () => {};
  const answer = new Promise<void>((resolve) => {
    answered = resolve;
  });
  async function* upload() {
    await answer;
    yield* zeros(700_000);
  }
  t.equal(await length(worker.stream('answerFirst', null, { upload: upload() })), 10, 'the answer is complete');
  answered();
  t.equal(await uploaded, 700_000, 'what is sent after it arrives');
  t.equal(await length(worker.stream('uploadFirst', null, { upload: zeros(2_000_000) })), 2_000_000);
});

t.test('an upload is not begun before it is accepted', async (t) => {
  let begun = 0;
  const upload = {
    [Symbol.asyncIterator]: () => {
      begun++;
      return zeros(10);
    },
  };
  const clock = new ManualClock();
  const { worker } = openStreamPair(
    t,
    {
      async *refused() {
        yield* zeros(0);
        throw new PeerworkError('tunnel-none');
      },
      content: () => zeros(1_000),
      async *silent(_args, signal) {
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        yield* zeros(0);
      },
      echo,
    },
    { clock },
  );
  t.equal(await endOf(worker.stream('refused', null, { upload })), 'tunnel-none');
  t.equal(await endOf(worker.stream('not there', null, { upload })), 'rpc-unknown-verb', 'as with a peer that is older');
  t.equal(await length(worker.stream('content', null, { upload })), 1_000, 'who does not want it answers all the same');
  const silent = endOf(worker.stream('silent', null, { upload, timeoutMs: 5_000 }));
  const cancelled = new AbortController();
  const waiting = endOf(worker.stream('silent', null, { upload, signal: cancelled.signal }));
  await turn();
  cancelled.abort();
  t.equal(await waiting, 'rpc-cancelled');
  await clock.pass(5_000);
  t.equal(await silent, 'rpc-timeout');
  t.equal(begun, 0);
  t.equal(await length(worker.stream('echo', null, { upload })), 10);
  t.equal(begun, 1);
  t.equal(await length(worker.stream('echo', null)), 0, 'without one it is empty');
});

t.test('a slow reader of an upload slows it down, and nothing else', async (t) => {
  let produced = 0;
  let taken = 0;
  const readers: (() => void)[] = [];
  const { worker, wire } = openStreamPair(t, {
    async *slow(_args, _signal, upload) {
      for await (const bytes of upload) {
        taken += bytes.length;
        await new Promise<void>((resolve) => readers.push(resolve));
      }
      yield* zeros(1);
    },
    echo,
  });
  async function* upload() {
    for (;;) {
      yield new Uint8Array(64 * 1024);
      produced += 64 * 1024;
    }
  }
  const controller = new AbortController();
  const ended = endOf(worker.stream('slow', null, { upload: upload(), signal: controller.signal }));
  await turn(200);
  const before = produced;
  t.ok(before <= UPLOAD_WINDOW_BYTES + 2 * HIGH_WATER_BYTES, `${before} bytes ahead of the reader`);
  t.ok(before >= UPLOAD_WINDOW_BYTES, 'but the window is used');
  t.ok(wire.b.bufferedBytes < 1_000);
  t.equal(await length(worker.stream('echo', null, { upload: zeros(5_000_000) })), 5_000_000);
  t.equal(produced, before, 'meanwhile it stands still');
  // The first frames on a link are small.
  for (let count = 0; count < 400 && taken <= 10 * 60_000; count++) {
    readers.shift()?.();
    await turn(5);
  }
  t.ok(taken > 10 * 60_000 && produced > before, 'whoever reads on gets more');
  controller.abort();
  t.equal(await ended, 'rpc-cancelled');
});

t.test('whoever gives up, both sides are told', async (t) => {
  const seen: string[] = [];
  const { worker, wire } = openStreamPair(t, {
    async *watch(_args, signal, upload) {
      yield new Uint8Array(1);
      try {
        await length(upload);
      } catch (error) {
        seen.push(`${(error as PeerworkError).code} ${signal.aborted}`);
      }
    },
    async *fails(_args, _signal, upload) {
      for await (const _ of upload) throw new PeerworkError('tunnel-broken');
      yield* zeros(0);
    },
    async *enough(_args, _signal, upload) {
      for await (const _ of upload) break;
      yield new Uint8Array(3);
    },
  });
  const closed: string[] = [];
  async function* endless(name: string) {
    try {
      for (;;) {
        yield new Uint8Array(1_000);
        await turn(1);
      }
    } finally {
      closed.push(name);
    }
  }
  for await (const _ of worker.stream('watch', null, { upload: endless('break') })) break;
  await turn();
  t.same([seen.splice(0), closed.splice(0)], [['rpc-cancelled true'], ['break']], 'the reader');
  async function* broken() {
    yield new Uint8Array(9);
    await turn(5);
    throw new PeerworkError('disk-full');
  }
  t.equal(await endOf(worker.stream('watch', null, { upload: broken() })), 'disk-full', 'the upload');
  await turn();
  t.same(seen.splice(0), ['rpc-cancelled true']);
  t.equal(await endOf(worker.stream('fails', null, { upload: endless('fails') })), 'tunnel-broken', 'the handler');
  await turn();
  t.same(closed.splice(0), ['fails']);
  t.equal(await length(worker.stream('enough', null, { upload: zeros(3_000_000) })), 3, 'a handler that has enough lets the rest go by');
  const lost = endOf(worker.stream('watch', null, { upload: endless('lost') }));
  await turn(20);
  for (const link of [wire.a, wire.b]) link.close(new PeerworkError('link-lost', 'cable'));
  t.equal(await lost, 'link-lost', 'the link');
  await turn();
  t.same([seen, closed], [['link-lost true'], ['lost']]);
});

t.test('both directions at full speed through a slow link delay neither the heartbeat nor a call', async (t) => {
  const clock = new ManualClock();
  const bytesPerSecond = 1_000_000;
  const total = 20 * 1024 * 1024;
  const { worker, master, wire } = openStreamPair(t, { echo }, { clock, bytesPerSecond });
  const echoing = Promise.all([0, 1].map(() => length(worker.stream('echo', null, { upload: zeros(total / 2) }))));
  let slowestMs = 0;
  let calls = 0;
  let asking = true;
  const asker = (async () => {
    while (asking) {
      const askedAt = clock.now();
      await worker.call('echo', 'x');
      slowestMs = Math.max(slowestMs, clock.now() - askedAt);
      calls++;
    }
  })();
  for (let second = 0; second < 26 && !wire.b.closed; second++) await clock.pass(1_000);
  t.same(await echoing, [total / 2, total / 2], 'in no more time than the link needs');
  asking = false;
  await clock.pass(2_000);
  await asker;
  t.ok(calls > 15, `${calls} calls`);
  t.ok(Math.max(master.roundTripMs ?? 9e9, worker.roundTripMs ?? 9e9) < 1_400);
  const fullBufferMs = (1000 * (HIGH_WATER_BYTES + 64 * 1024)) / bytesPerSecond;
  t.ok(slowestMs <= 2 * (fullBufferMs + 100), `the slowest call, there and back, took ${slowestMs} ms`);
});

/** Returns how the link ends for a peer that holds the keys and violates the rules of uploads. */
async function endingOf(handlers: RpcHandlers, ...frames: Uint8Array[]): Promise<string> {
  const wire = new MemoryWire();
  const [ofMaster, ofWorker] = pairedHandshakes();
  const session = new RpcSession({
    link: wire.a,
    handshaken: ofMaster,
    primitives: nodePrimitives,
    clock: systemClock,
    log: silentLog,
  });
  session.start(handlers);
  const hostile = new SealedLink(wire.b, ofWorker.keys, nodePrimitives);
  hostile.start({ frame: () => {}, broken: () => {} }, []);
  for (const frame of frames) {
    hostile.send(frame);
    await turn(5);
  }
  wire.b.close();
  return ((await session.closed) as PeerworkError).code;
}

function message(kind: number, id: number, payload: Uint8Array = new Uint8Array(0)): Uint8Array {
  const bytes = new Uint8Array(8 + payload.length);
  writeHeader(bytes, 0, kind as Kind, 0, id, payload.length);
  bytes.set(payload, 8);
  return bytes;
}

t.test('a hostile peer', async (t) => {
  let held = 0;
  const handlers: RpcHandlers = {
    streams: {
      async *take(_args, _signal, upload) {
        for await (const bytes of upload) held += bytes.length;
        yield* zeros(0);
      },
      async *begin(_args, signal, upload) {
        await upload[Symbol.asyncIterator]().next();
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        yield* zeros(0);
      },
      async *unread(_args, signal) {
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        yield* zeros(0);
      },
    },
  };
  const open = (verb: string) => message(Kind.open, 1, new TextEncoder().encode(`${verb}\n`));
  const data = (size: number) => message(Kind.upload, 1, new Uint8Array(size));
  const end = message(Kind.uploadEnd, 1);
  const cases: [string, Uint8Array[], string][] = [
    ['uploads what nobody reads', [open('unread'), data(1)], 'frame-malformed'],
    ['ends what nobody reads', [open('unread'), end], 'frame-malformed'],
    ['sends more than it may', [open('begin'), ...Array.from({ length: 9 }, () => data(65_000))], 'frame-malformed'],
    ['sends more than it may in tiny pieces', [open('begin'), ...Array.from({ length: 8_100 }, () => data(1))], 'frame-malformed'],
    ['goes on behind its end', [open('begin'), end, data(1)], 'frame-malformed'],
    ['ends twice', [open('begin'), end, end], 'frame-malformed'],
    ['sends nothing as data', [open('take'), data(0)], 'frame-malformed'],
    ['says nothing wrong', [open('take'), data(1_000), end], 'link-closed'],
    ['is late', [data(1_000), end, message(Kind.uploadCredit, 1, uint32(0xffff_ffff))], 'link-closed'],
    ['gives credit in three bytes', [message(Kind.uploadCredit, 1, new Uint8Array(3))], 'frame-malformed'],
  ];
  for (const [name, frames, code] of cases) t.equal(await endingOf(handlers, ...frames), code, name);
  t.equal(held, 1_000);

  // A peer that grants unlimited credit gets no more than the read-ahead of its stream's source.
  const wire = new MemoryWire({ bytesPerSecond: 1_000, clock: new ManualClock() });
  const [ofMaster, ofWorker] = pairedHandshakes();
  const session = new RpcSession({ link: wire.a, handshaken: ofMaster, primitives: nodePrimitives, clock: systemClock, log: silentLog });
  session.start({});
  const way = new MemoryWire();
  way.b.onMessage((frame) => wire.a.arrive(frame));
  const hostile = new SealedLink(way.a, ofWorker.keys, nodePrimitives);
  let produced = 0;
  async function* upload() {
    for (; produced < 100_000_000; produced += 64 * 1024) yield new Uint8Array(64 * 1024);
  }
  const reading = endOf(session.stream('any', null, { upload: upload() }));
  await turn();
  for (let count = 0; count < 100; count++) hostile.send(message(Kind.uploadCredit, 1, uint32(0xffff_ffff)));
  await turn(200);
  t.ok(produced > 0 && produced < STREAM_WINDOW_BYTES, `${produced} bytes were read ahead`);
  t.ok(wire.a.bufferedBytes < 2 * HIGH_WATER_BYTES);
  for (const link of [wire.a, wire.b, way.a, way.b]) link.close();
  await reading;
});
