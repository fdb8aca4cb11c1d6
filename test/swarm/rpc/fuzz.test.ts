import t from 'tap';
import { systemClock } from '../../../src/clock.js';
import { silentLog } from '../../../src/log.js';
import { nodePrimitives } from '../../../src/swarm/crypto.node.js';
import type { RpcHandlers } from '../../../src/swarm/peer.js';
import { Kind, STREAM_WINDOW_BYTES, writeHeader } from '../../../src/swarm/rpc/messages.js';
import { RpcSession } from '../../../src/swarm/rpc/session.js';
import { SealedLink } from '../../../src/swarm/sealed.js';
import { type SeededRandom, seededRandom } from '../../lab/seeded-random.js';
import { ManualClock, turn } from '../manual-clock.js';
import { MemoryWire } from '../memory-link.js';
import { pairedHandshakes } from '../pair.js';

const handlers: RpcHandlers = {
  calls: { echo: (args) => args, later: async (args) => args, never: () => new Promise(() => {}) },
  notes: { noted: () => {} },
  streams: {
    async *file() {
      for (let count = 0; count < 5; count++) yield new Uint8Array(1_000);
    },
  },
};

/** A session, and a peer that holds the keys but follows no rules. */
class Target {
  readonly wire = new MemoryWire();
  readonly session: RpcSession;
  readonly hostile: SealedLink;
  ended: string | undefined;
  /** The code in its goodbye. */
  goodbyeCode: string | undefined;

  constructor(clock = systemClock) {
    const [ofMaster, ofWorker] = pairedHandshakes();
    this.session = new RpcSession({ link: this.wire.a, handshaken: ofMaster, primitives: nodePrimitives, clock, log: silentLog });
    this.hostile = new SealedLink(this.wire.b, ofWorker.keys, nodePrimitives);
    this.session.start(handlers);
    const onFrame = (frame: Uint8Array) => {
      if (frame[0] !== Kind.goodbye) return;
      this.goodbyeCode = new TextDecoder().decode(frame.subarray(8));
      this.wire.b.close();
    };
    this.hostile.start({ frame: onFrame, broken: (error) => t.fail(error.message) }, []);
    void this.session.closed.then((error) => {
      this.ended = error.code;
    });
  }

  async say(frame: Uint8Array): Promise<void> {
    this.hostile.send(frame);
    await turn();
  }

  close(): void {
    this.wire.a.close();
    this.wire.b.close();
  }
}

const utf8 = (text: string) => new TextEncoder().encode(text);

function message(kind: number, id: number, payload: Uint8Array = new Uint8Array(0), flags = 0, length = payload.length): Uint8Array {
  const bytes = new Uint8Array(8 + payload.length);
  writeHeader(bytes, 0, kind as Kind, flags, id, length);
  bytes.set(payload, 8);
  return bytes;
}

async function endingOf(...frames: Uint8Array[]): Promise<string | undefined> {
  const target = new Target();
  for (const frame of frames) target.hostile.send(frame);
  await turn();
  target.wire.b.close();
  await target.session.closed;
  await turn(1);
  return target.ended;
}

t.test('each broken rule ends the link under its own code', async (t) => {
  const call = (text: string) => utf8(text);
  const cases: [string, Uint8Array[], string][] = [
    ['a cut header', [new Uint8Array(7)], 'frame-malformed'],
    ['a length beyond the frame', [message(Kind.ping, 1, undefined, 0, 1)], 'frame-malformed'],
    ['an unknown kind', [message(99, 1)], 'frame-malformed'],
    ['kind zero', [message(0, 1)], 'frame-malformed'],
    ['unknown flags', [message(Kind.ping, 1, undefined, 2)], 'frame-malformed'],
    ['a ping in parts', [message(Kind.ping, 1, undefined, 1)], 'frame-malformed'],
    ['a ping with a payload', [message(Kind.ping, 1, utf8('x'))], 'frame-malformed'],
    ['a call without a verb', [message(Kind.call, 1, call('\n1'))], 'frame-malformed'],
    ['a call with an endless verb', [message(Kind.call, 1, call(`${'v'.repeat(65)}\n1`))], 'frame-malformed'],
    ['a call that is not JSON', [message(Kind.call, 1, call('echo\n{'))], 'frame-malformed'],
    ['a note that is not JSON', [message(Kind.note, 1, call('noted\nx'))], 'frame-malformed'],
    ['an answer that is not JSON', [message(Kind.answer, 1, call('['))], 'frame-malformed'],
    ['text that is not UTF-8', [message(Kind.call, 1, new Uint8Array([0xff, 0xfe]))], 'frame-malformed'],
    ['an id that is in use', [message(Kind.call, 1, call('never\n')), message(Kind.call, 1, call('never\n'))], 'frame-malformed'],
    ['a stream id that is in use', [message(Kind.open, 1, call('file\n')), message(Kind.open, 1, call('file\n'))], 'frame-malformed'],
    ['an empty part', [message(Kind.call, 1, undefined, 1)], 'frame-malformed'],
    ['parts of two calls mixed', [message(Kind.call, 1, call('ec'), 1), message(Kind.call, 2, call('ho\n'))], 'frame-malformed'],
    ['data without any', [message(Kind.data, 1)], 'frame-malformed'],
    ['a credit of three bytes', [message(Kind.credit, 1, new Uint8Array(3))], 'frame-malformed'],
    [
      'more than 16 MiB in parts',
      Array.from({ length: 300 }, () => message(Kind.call, 1, new Uint8Array(65_000).fill(65), 1)),
      'frame-oversized',
    ],
  ];
  for (const [name, frames, code] of cases) t.equal(await endingOf(...frames), code, name);
});

t.test('what is late or means nothing is ignored', async (t) => {
  const harmless = [Kind.answer, Kind.refusal, Kind.data, Kind.end, Kind.fail, Kind.cancel, Kind.pong].map((kind) =>
    message(kind, 12_345, kind === Kind.data ? utf8('x') : kind === Kind.answer ? utf8('1') : undefined),
  );
  t.equal(await endingOf(...harmless, message(Kind.credit, 12_345, new Uint8Array(4).fill(255))), 'link-closed');
  t.equal(await endingOf(message(Kind.goodbye, 0, utf8('no such code'))), 'link-closed');
  t.equal(await endingOf(message(Kind.goodbye, 0, utf8('worker-revoked'))), 'worker-revoked');
  t.equal(await endingOf(new Uint8Array([...message(Kind.goodbye, 0), ...message(99, 1)])), 'link-closed', 'nothing follows a goodbye');
});

t.test('more data than there was credit for', async (t) => {
  for (const size of [60_000, 1]) {
    const target = new Target();
    const iterator = target.session.stream('any', null)[Symbol.asyncIterator]();
    const perFrame = Math.floor(65_000 / (size + 8));
    const frame = new Uint8Array(perFrame * (size + 8));
    for (let index = 0; index < perFrame; index++) frame.set(message(Kind.data, 1, new Uint8Array(size)), index * (size + 8));
    let sent = 0;
    while (!target.wire.a.closed && target.ended === undefined && sent < 2 * STREAM_WINDOW_BYTES) {
      sent += perFrame * (size + 64);
      await target.say(frame);
      if (sent <= STREAM_WINDOW_BYTES) t.notOk(target.wire.a.closed);
      else break;
    }
    target.wire.b.close();
    await target.session.closed;
    await turn(1);
    t.equal(target.ended, 'frame-malformed', `in pieces of ${size}`);
    for (;;) if ((await iterator.next().catch(() => ({ done: true }))).done) break;
  }
});

t.test('a peer that asks and never reads', async (t) => {
  const clock = new ManualClock();
  const wire = new MemoryWire({ clock, bytesPerSecond: 1 });
  const [ofMaster, ofWorker] = pairedHandshakes();
  const session = new RpcSession({ link: wire.a, handshaken: ofMaster, primitives: nodePrimitives, clock, log: silentLog });
  const big = 'x'.repeat(1_000_000);
  session.start({ calls: { big: () => big } });
  // The hostile end delivers its frames directly: only the return path is slow.
  const outbox = new MemoryWire();
  outbox.b.onMessage((frame) => wire.a.arrive(frame));
  const hostile = new SealedLink(outbox.a, ofWorker.keys, nodePrimitives);
  let ended = '';
  void session.closed.then((error) => {
    ended = error.code;
  });
  for (let id = 1; id < 400 && !wire.a.closed && ended === ''; id++) {
    hostile.send(message(Kind.call, id, utf8('big\n')));
    await turn();
  }
  t.equal(ended, '', 'calls are refused, the link lives');
  const pings = new Uint8Array(8 * 8_000);
  for (let index = 0; index < 8_000; index++) pings.set(message(Kind.ping, index), 8 * index);
  for (let count = 0; count < 400 && !wire.a.closed; count++) {
    hostile.send(pings);
    await turn();
    t.ok(wire.a.bufferedBytes < 10_000_000);
    if (wire.a.bufferedBytes > 8 * 1024 * 1024) await clock.pass(300);
  }
  await turn();
  t.equal(ended, 'link-lost', 'but not for ever');
});

const kinds: [number, ...number[]] = [0, 17, 99, 255, ...Object.values(Kind).filter((kind) => kind !== Kind.goodbye)];
const texts = [
  'echo\n{"a":1}',
  'later\n[1,2,3]',
  'never\n',
  'noted\nnull',
  'file\n',
  'unknown\n1',
  '__proto__\n1',
  'echo\n{"__proto__":{"x":1}}',
  '{',
  '"x"',
  '',
  `echo\n${'['.repeat(5_000)}`,
  'internal\nx',
] as [string, ...string[]];

/** Usually valid, sometimes not. */
function hostileFrame(random: SeededRandom): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let count = 1 + random.below(4); count > 0; count--) {
    const kind = random.pick(kinds);
    const id = random.pick([0, 1, 2, 3, 0xffff_ffff, random.below(50)]);
    const payload =
      [utf8(random.pick(texts)), utf8(random.pick(texts)), new Uint8Array(0), random.bytes(random.below(30)), random.bytes(4)][
        random.below(5)
      ] ?? new Uint8Array(0);
    const flags = random.below(12) === 0 ? 1 : random.below(200) === 0 ? random.below(256) : 0;
    const length = random.below(50) === 0 ? random.below(65_536) : payload.length;
    parts.push(message(kind, id, payload, flags, length));
  }
  const frame = new Uint8Array(Buffer.concat(parts));
  if (random.below(5) === 0) frame[random.below(frame.length)] = random.below(256);
  return random.below(10) === 0 ? frame.subarray(0, 1 + random.below(frame.length)) : frame;
}

t.test('40,000 frames of a peer that holds the keys and follows no rules', async (t) => {
  const random = seededRandom(64);
  // Tens of thousands of errors are created here; their stacks take most of the time.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  t.teardown(() => {
    Error.stackTraceLimit = stackTraceLimit;
  });
  const endings = new Map<string, number>();
  const targets = Array.from({ length: 100 }, () => new Target(new ManualClock()));
  let earlyBytes = 0;
  for (let round = 0; round < 400; round++) {
    for (const [index, target] of targets.entries()) {
      if (target.goodbyeCode !== undefined) {
        endings.set(target.goodbyeCode, (endings.get(target.goodbyeCode) ?? 0) + 1);
        target.close();
        targets[index] = new Target(new ManualClock());
      }
      if (random.below(8) === 0) void target.session.call('echo', 1).catch(() => {});
      targets[index]?.hostile.send(random.below(6) === 0 ? random.bytes(1 + random.below(200)) : hostileFrame(random));
    }
    await turn(2);
    if (round === 100) earlyBytes = process.memoryUsage().rss;
  }
  for (const target of targets) target.close();
  const grownMegabytes = (process.memoryUsage().rss - earlyBytes) / 1e6;
  t.same([...endings.keys()].sort(), ['frame-malformed'], `${[...endings]}`);
  t.ok((endings.get('frame-malformed') ?? 0) > 10_000, `${[...endings]}`);
  t.ok(grownMegabytes < 150, `${Math.round(grownMegabytes)} MB more after 30,000 further frames`);
});
