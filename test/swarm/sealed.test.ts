import t from 'tap';
import { nodePrimitives } from '../../src/swarm/crypto.node.js';
import { MAX_FRAME_BYTES, SealedLink } from '../../src/swarm/sealed.js';
import { seededRandom } from '../lab/seeded-random.js';
import { turn } from './manual-clock.js';
import { MemoryWire } from './memory-link.js';
import { pairedHandshakes } from './pair.js';

function sealedPair() {
  const wire = new MemoryWire();
  const [ofA, ofB] = pairedHandshakes();
  const a = new SealedLink(wire.a, ofA.keys, nodePrimitives);
  const b = new SealedLink(wire.b, ofB.keys, nodePrimitives);
  const frames: Uint8Array[] = [];
  const codes: string[] = [];
  b.start({ frame: (frame) => frames.push(frame), broken: (error) => codes.push(error.code) }, []);
  return { wire, a, b, frames, codes };
}

t.test('frames arrive as they were, in order, and look like noise on the way', async (t) => {
  const { wire, a, b, frames, codes } = sealedPair();
  const seen: Uint8Array[] = [];
  wire.tamper = (message) => {
    seen.push(message);
    return [message];
  };
  const sent = [1, 100, MAX_FRAME_BYTES].map((length) => new Uint8Array(length).fill(length));
  for (const frame of [...sent, ...sent]) a.send(frame);
  await turn();
  t.same(frames.map(Buffer.from), [...sent, ...sent].map(Buffer.from));
  t.same(codes, []);
  t.equal(a.traffic.sent, 2 * (101 + MAX_FRAME_BYTES));
  t.equal(b.traffic.received, a.traffic.sent);
  t.notSame(seen[1], seen[4], 'the same frame never looks the same twice');
});

t.test('what was done to a frame on the way ends it all, each under its own code', async (t) => {
  const cases: [string, (messages: Uint8Array[]) => Uint8Array[], string][] = [
    ['altered', ([first]) => [(first ?? new Uint8Array()).map((byte, at) => (at === 5 ? byte ^ 1 : byte))], 'frame-tampered'],
    ['replayed', ([first, second]) => [first, first, second] as Uint8Array[], 'frame-tampered'],
    ['swapped', ([first, second]) => [second, first] as Uint8Array[], 'frame-tampered'],
    ['left out', ([, second]) => [second] as Uint8Array[], 'frame-tampered'],
    ['cut', ([first]) => [(first ?? new Uint8Array()).subarray(1)], 'frame-tampered'],
    ['cut down to nothing', () => [new Uint8Array(0)], 'frame-malformed'],
    ['cut down to its tag', ([first]) => [(first ?? new Uint8Array()).subarray(0, 16)], 'frame-malformed'],
    ['blown up', () => [new Uint8Array(64 * 1024 + 1)], 'frame-oversized'],
  ];
  for (const [name, change, code] of cases) {
    const { wire, a, frames, codes } = sealedPair();
    const held: Uint8Array[] = [];
    wire.tamper = (message) => (held.push(message) < 2 ? [] : change(held));
    a.send(new Uint8Array(30).fill(1));
    a.send(new Uint8Array(30).fill(2));
    await turn();
    wire.tamper = (message) => [message];
    a.send(new Uint8Array(30).fill(3));
    await turn();
    t.same(codes, [code], name);
    t.ok(frames.length <= 1, 'nothing after it is delivered');
  }
  const { wire, codes } = sealedPair();
  const own = new SealedLink(wire.b, pairedHandshakes()[1].keys, nodePrimitives);
  wire.a.onMessage((message) => wire.a.send(message));
  own.send(new Uint8Array(30));
  await turn();
  t.same(codes, ['frame-tampered'], 'a frame sent back to its sender');
});

t.test('60,000 frames that somebody without the keys puts in', async (t) => {
  const random = seededRandom(20_261_122);
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  t.teardown(() => {
    Error.stackTraceLimit = stackTraceLimit;
  });
  const [ofA, ofB] = pairedHandshakes();
  const ended = new Map<string, number>();
  const sentFrames: Uint8Array[] = [];
  const template = new MemoryWire();
  template.tamper = (message) => {
    sentFrames.push(message);
    return [];
  };
  const sender = new SealedLink(template.a, ofA.keys, nodePrimitives);
  for (let count = 0; count < 200; count++) sender.send(random.bytes(1 + random.below(300)));
  await turn();
  t.equal(sentFrames.length, 200);
  for (let round = 0; round < 60_000; round++) {
    const codes: string[] = [];
    let delivered = 0;
    const end = new MemoryWire().b;
    const receiver = new SealedLink(end, ofB.keys, nodePrimitives);
    receiver.start({ frame: () => delivered++, broken: (error) => codes.push(error.code) }, []);
    const genuine = sentFrames[0] ?? new Uint8Array();
    const hostile = [
      () => random.bytes(random.below(400)),
      () => genuine.map((byte, at) => (at === round % genuine.length ? byte ^ (1 << random.below(8)) : byte)),
      () => genuine.subarray(0, random.below(genuine.length)),
      () => sentFrames[1 + random.below(199)] ?? genuine,
      () => new Uint8Array([...genuine, random.below(256)]),
      () => new Uint8Array(65_537 + random.below(10)),
    ][round % 6];
    end.arrive(hostile?.() ?? genuine);
    if (delivered > 0 || codes.length !== 1) t.fail(`round ${round}: ${delivered} delivered, ${codes}`);
    const code = codes[0] ?? 'none';
    ended.set(code, (ended.get(code) ?? 0) + 1);
  }
  t.same([...ended.keys()].sort(), ['frame-malformed', 'frame-oversized', 'frame-tampered']);
});
