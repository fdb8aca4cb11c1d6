import { once } from 'node:events';
import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { systemClock } from '../../../../src/clock.js';
import { silentLog } from '../../../../src/log.js';
import { encode } from '../../../../src/wires/queue-xec/protocol/bencode.js';
import type { RoomHandler } from '../../../../src/wires/queue-xec/protocol/calls.js';
import { extendedFrame, HANDSHAKE_BYTES, handshake } from '../../../../src/wires/queue-xec/protocol/frames.js';
import { infoHashOf, RoomKeys } from '../../../../src/wires/queue-xec/protocol/keys.js';
import { sealPacket, signPacket } from '../../../../src/wires/queue-xec/protocol/packet.js';
import { Room, type RoomOptions } from '../../../../src/wires/queue-xec/protocol/room.js';
import { freePort } from '../../../lab/free-port.js';
import { foreigners, TOKEN } from '../../../lab/queue-xec/foreign.js';
import { seededRandom } from '../../../lab/seeded-random.js';
import { until } from '../../../lab/until.js';

const LOOPBACK = '127.0.0.1';
const TIMEOUT = { timeoutMs: 20_000 };

async function roomOf(t: Test, options: Partial<RoomOptions> & { readonly calls?: Readonly<Record<string, RoomHandler>> } = {}) {
  const seen: string[] = [];
  const gone: string[] = [];
  const { calls = {}, ...rest } = options;
  const room = new Room({
    ...{ token: TOKEN, clock: systemClock, log: silentLog, serve: new Map(Object.entries(calls)) },
    ...{ listen: { host: LOOPBACK }, lsd: false, dht: false },
    onSeen: (address) => seen.push(address),
    onGone: (address) => gone.push(address),
    ...rest,
  });
  await room.start();
  t.teardown(() => room.close());
  return { room, seen, gone };
}

/** Opens a raw connection to the room, which need not follow the protocol. */
async function stranger(t: Test, port: number) {
  const socket = connect(port, LOOPBACK);
  socket.on('error', () => {});
  socket.resume();
  t.teardown(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

const hello = (keys: RoomKeys, changed: object = {}) =>
  extendedFrame(0, encode({ m: { bo_channel: 7 }, id: TOKEN, pk: keys.pk, ek: keys.ek, ...changed }));
const ownHandshake = (token = TOKEN) => handshake(infoHashOf(token), Buffer.alloc(20, 7));

t.test('the library that queue-xec stands on is a member like any other', async (t) => {
  const { start } = foreigners(t);
  const theirs = await start('foreign-master.js', { files: [] });
  const { room } = await roomOf(t, { peers: [{ host: LOOPBACK, port: theirs.port }] });
  await until(() => room.members().includes(theirs.address));
  t.same(await room.call(theirs.address, 'isMaster', {}, TIMEOUT).answered, { isMaster: 'yes' });
  t.same(await room.call(theirs.address, 'ping', { n: 1 }, TIMEOUT).answered, { n: 1, pong: true });
  t.same(await room.call(theirs.address, 'unknown', {}, TIMEOUT).answered, { error: 'No such API call.' });
  await t.rejects(room.call(theirs.address, 'shareResults', {}, { timeoutMs: 1 }).answered, { code: 'rpc-timeout' });
});

t.test('two of ours call each other, whoever dialled', async (t) => {
  const a = await roomOf(t, { calls: { add: async (_from, args) => (args as { n: number }).n + 1, none: async () => undefined } });
  const b = await roomOf(t, { peers: [{ host: LOOPBACK, port: a.room.port }], calls: { who: async (from) => from } });
  await until(() => a.seen.length > 0 && b.seen.length > 0);
  t.equal(await b.room.call(a.room.address, 'add', { n: 1 }, TIMEOUT).answered, 2);
  t.equal(await a.room.call(b.room.address, 'who', {}, TIMEOUT).answered, a.room.address);
  t.same(await b.room.call(a.room.address, 'toString', {}, TIMEOUT).answered, { error: 'No such API call.' });
  const open = b.room.call(a.room.address, 'none', {}, { timeoutMs: 0 }).answered;
  await a.room.close();
  await t.rejects(open, { code: 'link-lost' });
  await until(() => b.gone.includes(a.room.address));
  await t.rejects(b.room.call(a.room.address, 'add', {}, TIMEOUT).answered, { code: 'link-lost' });
});

t.test('members that have no link to each other reach each other through a third', async (t) => {
  const middle = await roomOf(t);
  const peers = [{ host: LOOPBACK, port: middle.room.port }];
  const a = await roomOf(t, { peers });
  await until(() => a.room.members().length === 1);
  const b = await roomOf(t, { peers, calls: { far: async () => 'here' } });
  await until(() => a.seen.includes(b.room.address));
  t.notOk(a.room.members().includes(b.room.address));
  t.equal(await a.room.call(b.room.address, 'far', {}, TIMEOUT).answered, 'here');
});

t.test('with new keys a member is another one, and is still asked under the old ones', async (t) => {
  const a = await roomOf(t, { calls: { me: async () => 'me' } });
  const b = await roomOf(t, { peers: [{ host: LOOPBACK, port: a.room.port }] });
  await until(() => b.seen.length === 1);
  const former = a.room.address;
  a.room.renew();
  await until(() => b.seen.includes(a.room.address));
  t.not(a.room.address, former);
  t.equal(await b.room.call(a.room.address, 'me', {}, TIMEOUT).answered, 'me');
  t.equal(await b.room.call(former, 'me', {}, TIMEOUT).answered, 'me');
});

t.test('a link that is lost is made again', async (t) => {
  const port = await freePort();
  const { room, seen } = await roomOf(t, { peers: [{ host: LOOPBACK, port }] });
  const one = await roomOf(t, { listen: { host: LOOPBACK, port } });
  await until(() => seen.includes(one.room.address));
  await one.room.close();
  const two = await roomOf(t, { listen: { host: LOOPBACK, port } });
  await until(() => seen.includes(two.room.address));
  t.same(room.members(), [two.room.address]);
});

t.test('a clock that is far off is told', async (t) => {
  const skews: number[] = [];
  const late = { ...systemClock, wall: () => Date.now() - 290_000 };
  const a = await roomOf(t, { onSkew: (ms) => skews.push(ms) });
  await roomOf(t, { clock: late, peers: [{ host: LOOPBACK, port: a.room.port }] });
  await until(() => skews.length > 0);
  t.ok((skews[0] ?? 0) < -280_000 && (skews[0] ?? 0) > -300_000);
});

t.test('whoever is no member is sent away', async (t) => {
  const { room } = await roomOf(t);
  const keys = new RoomKeys();
  const large = Buffer.alloc(4);
  large.writeUInt32BE(0x7fffffff);
  const others: Readonly<Record<string, readonly Buffer[]>> = {
    'another protocol': [Buffer.alloc(HANDSHAKE_BYTES)],
    'another room': [ownHandshake('another')],
    'no channel': [ownHandshake(), extendedFrame(0, encode({ m: {}, pk: keys.pk, ek: keys.ek }))],
    'no keys': [ownHandshake(), extendedFrame(0, encode({ m: { bo_channel: 1 } }))],
    'keys that are none': [ownHandshake(), hello(keys, { pk: 'O0Il' })],
    'a key of another length': [ownHandshake(), hello(keys, { ek: '11' })],
    'a frame of 2 GB': [ownHandshake(), hello(keys), large],
    'no bencode': [ownHandshake(), extendedFrame(0, Buffer.from('hello'))],
    'lists in lists': [ownHandshake(), extendedFrame(0, Buffer.from('l'.repeat(100_000)))],
    'very many values': [ownHandshake(), extendedFrame(0, Buffer.from(`l${'i1e'.repeat(100_000)}e`))],
    'a string that is longer than all': [ownHandshake(), extendedFrame(0, Buffer.from('99999999999:x'))],
  };
  for (const [what, bytes] of Object.entries(others)) {
    const socket = await stranger(t, room.port);
    socket.write(Buffer.concat([...bytes]));
    await once(socket, 'close');
    t.pass(what);
  }
  t.same(room.members(), []);
});

t.test('20,000 seeded messages of a member that follows no rules: none ends it, and memory stays', async (t) => {
  const received: unknown[] = [];
  const { room } = await roomOf(t, { calls: { echo: async (_from, args) => received.push(args) && args } });
  const honest = await roomOf(t, { peers: [{ host: LOOPBACK, port: room.port }] });
  await until(() => honest.room.members().length === 1);
  const random = seededRandom(20_651);
  const keys = new RoomKeys();
  const ours = Buffer.from(new RoomKeys().signing.publicKey);
  const body = { y: 'r', c: 'echo', a: '{"n":1}', rn: Buffer.alloc(8) } as const;
  const valid = signPacket(keys, TOKEN, Date.now(), body);
  const sealed = sealPacket(keys, ours, valid);
  const pieces = [
    valid,
    sealed,
    encode({ p: 'x', s: Buffer.alloc(64) }),
    encode({ e: 'x', n: Buffer.alloc(24), ek: keys.ek }),
    encode({ e: '', n: 'short', ek: keys.ek }),
  ] as const;
  const next = (): Buffer => {
    const chosen = Buffer.from(random.pick(pieces as unknown as readonly [Buffer, ...Buffer[]]));
    const kind = random.below(5);
    if (kind === 0) return Buffer.from(random.bytes(random.below(200)));
    for (let flips = random.below(4); flips > 0; flips -= 1) chosen[random.below(chosen.length)] = random.below(256);
    return kind === 1 ? chosen.subarray(0, random.below(chosen.length)) : chosen;
  };
  let before = 0;
  for (let round = 0; round < 20; round += 1) {
    const socket = await stranger(t, room.port);
    socket.write(Buffer.concat([ownHandshake(), hello(keys)]));
    await until(() => room.members().includes(keys.address), 5);
    for (let count = 0; count < 1_000; count += 1) socket.write(extendedFrame(4, next()));
    // Send raw bytes last: the other side may close the connection because of them.
    socket.end(Buffer.from(random.bytes(random.below(100))));
    await until(() => !room.members().includes(keys.address), 5);
    if (round === 4) before = process.memoryUsage().rss;
  }
  const grownMb = (process.memoryUsage().rss - before) / 1024 / 1024;
  t.ok(grownMb < 60, `memory grew by ${grownMb.toFixed(1)} MB`);
  t.same(await honest.room.call(room.address, 'echo', { still: 'there' }, TIMEOUT).answered, { still: 'there' });
});

t.test('a frame that never ends costs what was sent of it, and what is sent at once is bounded', async (t) => {
  const { room } = await roomOf(t);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(30 * 1024 * 1024);
  const sockets = await Promise.all(Array.from({ length: 8 }, () => stranger(t, room.port)));
  let open = sockets.length;
  for (const socket of sockets) {
    socket.on('close', () => (open -= 1));
    socket.write(Buffer.concat([ownHandshake(), hello(new RoomKeys()), head]));
  }
  await until(() => room.members().length === sockets.length, 5);
  const part = Buffer.alloc(1024 * 1024);
  for (let count = 0; count < 25; count += 1) for (const socket of sockets) if (socket.writable) socket.write(part);
  await until(() => open < sockets.length);
  t.pass('beyond 128 MB over all wires those that ask for more are closed');
  t.ok(room.members().length > 0, 'the others stay');
});
