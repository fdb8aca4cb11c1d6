import t from 'tap';
import { PeerworkError } from '../../src/errors.js';
import { redact } from '../../src/log.js';
import { toBase64url, toHex } from '../../src/swarm/bytes.js';
import { nodePrimitives } from '../../src/swarm/crypto.node.js';
import { type Handshaken, type HandshakeOptions, shakeHands } from '../../src/swarm/handshake.js';
import { decodeHello, encodeHello } from '../../src/swarm/handshake-messages.js';
import { createKeyPair, identityId } from '../../src/swarm/identity.js';
import { createToken, formatToken, handshakeKey, type Token } from '../../src/swarm/token.js';
import { ManualClock, turn } from './manual-clock.js';
import { type MemoryLink, MemoryWire } from './memory-link.js';
import { masterKeys, masterOptions, token, workerKeys, workerOptions } from './pair.js';
import { RawMaster } from './raw-master.js';

const transferSecret = 'an-extra-secret-of-32-characters';
const errors: Error[] = [];

/** Returns the code of the refusal; `shaken` if there was none. */
async function refusalOf(handshake: Promise<unknown>): Promise<string> {
  return handshake.then(
    () => 'shaken',
    (error) => {
      errors.push(error);
      return error instanceof PeerworkError ? error.code : String(error);
    },
  );
}

async function bothEndings(master: Partial<HandshakeOptions>, worker: Partial<HandshakeOptions>, wire = new MemoryWire()) {
  const endings = await Promise.all([
    refusalOf(shakeHands(wire.a, { ...masterOptions, ...master })),
    refusalOf(shakeHands(wire.b, { ...workerOptions, ...worker })),
  ]);
  if (endings.some((code) => code !== 'shaken')) await Promise.all([closing(wire.a), closing(wire.b)]);
  return { endings, closed: wire.a.closed && wire.b.closed };
}

function closing(link: MemoryLink): Promise<unknown> {
  return new Promise((resolve) => link.onClose(resolve));
}

const attackerKeys = createKeyPair(nodePrimitives);
/** A token forged by someone who has its secret, but not the Master's key. */
const forgedToken: Token = { ...token, publicKey: attackerKeys.publicKey };

t.test('Master and Worker learn who the other is and get matching keys', async (t) => {
  for (const transferEncryptToken of [undefined, transferSecret]) {
    const admitted: string[][] = [];
    const admit = (...facts: string[]) => void admitted.push(facts);
    const wire = new MemoryWire();
    const [master, worker] = await Promise.all([
      shakeHands(wire.a, { ...masterOptions, transferEncryptToken, admit }),
      shakeHands(wire.b, { ...workerOptions, transferEncryptToken, name: ' Käthe\u202e\n\0' }),
    ]);
    t.same(master.peer, { id: identityId(workerKeys.publicKey), name: 'Käthe', role: 'worker' });
    t.same(worker.peer, { id: identityId(masterKeys.publicKey), name: 'the master', role: 'master' });
    t.same(admitted, [[master.peer.id, 'Käthe']]);
    t.equal(toHex(master.keys.send), toHex(worker.keys.receive));
    t.equal(toHex(master.keys.receive), toHex(worker.keys.send));
    t.not(toHex(master.keys.send), toHex(master.keys.receive));
    t.notOk(wire.a.closed || wire.b.closed);
  }
  const keys = async () => toHex((await shakeBoth(new MemoryWire()))[0].keys.send);
  t.not(await keys(), await keys(), 'each session has its own');
  const long = await shakeBoth(new MemoryWire(), { name: '🐝'.repeat(100) });
  t.equal(long[0].peer.name, '🐝'.repeat(64));
});

function shakeBoth(wire: MemoryWire, worker: Partial<HandshakeOptions> = {}): Promise<[Handshaken, Handshaken]> {
  return Promise.all([shakeHands(wire.a, masterOptions), shakeHands(wire.b, { ...workerOptions, ...worker })]);
}

t.test('secrets that differ', async (t) => {
  const other = createToken({ publicKey: masterKeys.publicKey }, nodePrimitives);
  t.same(await bothEndings({}, { token: other }), { endings: ['secret-mismatch', 'secret-mismatch'], closed: true });
  const mismatch = { endings: ['transfer-secret-mismatch', 'transfer-secret-mismatch'], closed: true };
  t.same(await bothEndings({ transferEncryptToken: transferSecret }, { transferEncryptToken: transferSecret.toUpperCase() }), mismatch);
  t.same(await bothEndings({ transferEncryptToken: transferSecret }, {}), mismatch);
  t.same(await bothEndings({}, { transferEncryptToken: transferSecret }), mismatch);
  await t.rejects(shakeHands(new MemoryWire().a, { ...masterOptions, transferEncryptToken: 'short' }), { code: 'option-invalid' });
  await t.rejects(shakeHands(new MemoryWire().a, { ...masterOptions, keyPair: workerKeys }), { code: 'option-invalid' });
});

t.test('a Worker that is not wanted is told why', async (t) => {
  for (const code of ['worker-revoked', 'worker-unapproved'] as const) {
    const refused = await bothEndings({ admit: (id) => (id === identityId(workerKeys.publicKey) ? code : undefined) }, {});
    t.same(refused, { endings: [code, code], closed: true });
  }
});

t.test('a token holder cannot be the Master', async (t) => {
  const { endings, closed } = await bothEndings({ token: forgedToken, keyPair: attackerKeys }, {});
  t.same(endings, ['link-closed', 'master-impostor'], 'and learns nothing about the Worker');
  t.ok(closed);
});

t.test('a Worker cannot be another Worker', async (t) => {
  const posing = { publicKey: workerKeys.publicKey, privateKey: attackerKeys.privateKey };
  t.same(await bothEndings({}, { keyPair: posing }), { endings: ['worker-impostor', 'worker-impostor'], closed: true });
});

/** Returns two links with a man in the middle, who has a certificate of his own for each. */
function intercepted(change: (message: Uint8Array, towards: 'worker' | 'master') => Uint8Array): {
  readonly master: MemoryLink;
  readonly worker: MemoryLink;
} {
  const toMaster = new MemoryWire({ fingerprints: ['MASTER', 'EVE:1'] });
  const toWorker = new MemoryWire({ fingerprints: ['EVE:2', 'WORKER'] });
  toMaster.b.onClose(() => toWorker.a.close());
  toWorker.a.onClose(() => toMaster.b.close());
  toMaster.b.onMessage((message) => toWorker.a.send(change(message, 'worker')));
  toWorker.a.onMessage((message) => toMaster.b.send(change(message, 'master')));
  return { master: toMaster.a, worker: toWorker.b };
}

async function endingsAcross({ master, worker }: { readonly master: MemoryLink; readonly worker: MemoryLink }): Promise<string[]> {
  const endings = await Promise.all([refusalOf(shakeHands(master, masterOptions)), refusalOf(shakeHands(worker, workerOptions))]);
  return endings;
}

const digest = (fingerprint: string) => nodePrimitives.sha256(new TextEncoder().encode(fingerprint));

t.test('a man in the middle, such as a tracker that swaps the SDP', async (t) => {
  t.same(await endingsAcross(intercepted((message) => message)), ['fingerprint-mismatch', 'fingerprint-mismatch'], 'who only relays');

  for (const fingerprints of [
    { local: 'EVE', remote: 'WORKER' },
    { local: 'MASTER', remote: 'EVE' },
  ]) {
    const wire = new MemoryWire({ fingerprints: ['MASTER', 'WORKER'] });
    Object.assign(wire.a, { fingerprints });
    const { endings } = await bothEndings({}, {}, wire);
    t.same(endings, ['fingerprint-mismatch', 'fingerprint-mismatch'], 'who swaps only one of the certificates');
  }

  const rewrite = (key: Uint8Array) =>
    intercepted((message, towards) => {
      if (message[0] !== 0x70) return message;
      const ends =
        towards === 'worker' ? { local: digest('EVE:2'), remote: digest('WORKER') } : { local: digest('EVE:1'), remote: digest('MASTER') };
      return encodeHello({ ...decodeHello(message), ...ends }, key, nodePrimitives);
    });
  t.same(await endingsAcross(rewrite(new Uint8Array(32))), ['secret-mismatch', 'secret-mismatch'], 'who puts in his own certificates');
  const withToken = await endingsAcross(rewrite(handshakeKey(token, nodePrimitives)));
  t.equal(withToken[1], 'frame-tampered', 'who holds the token too: the two sides have said and heard different things');
});

t.test('a downgrade', async (t) => {
  const both = { versions: { oldest: 1, newest: 2 } };
  t.same((await bothEndings(both, both)).endings, ['shaken', 'shaken']);
  t.same((await bothEndings({}, { versions: { oldest: 2, newest: 3 } })).endings, ['handshake-version', 'handshake-version']);
  t.match(errors.at(-1)?.message, /versions? 1.*versions? 2|versions? 2.*version 1/);

  const wire = new MemoryWire();
  wire.tamper = (message) => (message[0] === 0x70 ? [message.map((byte, index) => (index === 4 ? 1 : byte))] : [message]);
  t.same((await bothEndings(both, both, wire)).endings, ['secret-mismatch', 'secret-mismatch'], 'by somebody in between');
  const held = new MemoryWire();
  const key = handshakeKey(token, nodePrimitives);
  held.tamper = (message) => (message[0] === 0x70 ? [encodeHello({ ...decodeHello(message), newest: 1 }, key, nodePrimitives)] : [message]);
  t.equal((await bothEndings(both, both, held)).endings[1], 'frame-tampered', 'even by one who holds the token');
});

t.test('wrong roles', async (t) => {
  const wire = new MemoryWire();
  const workers = [shakeHands(wire.a, { ...workerOptions, keyPair: attackerKeys }), shakeHands(wire.b, workerOptions)];
  t.same(await Promise.all(workers.map(refusalOf)), ['handshake-role', 'handshake-role'], 'two Workers');
  const mirror = new MemoryWire();
  mirror.b.onMessage((message) => mirror.b.send(message));
  t.equal(await refusalOf(shakeHands(mirror.a, workerOptions)), 'handshake-role', 'one that says back what it hears');
});

t.test('a recorded handshake is worth nothing', async (t) => {
  const recorded: Uint8Array[] = [];
  const wire = new MemoryWire();
  wire.tamper = (message, from) => {
    if (from === 'b') recorded.push(message);
    return [message];
  };
  await shakeBoth(wire);
  const replay = new MemoryWire();
  const master = refusalOf(shakeHands(replay.a, masterOptions));
  for (const message of recorded) replay.b.send(message);
  t.equal(await master, 'frame-tampered');
});

t.test('nobody holds a handshake open', async (t) => {
  for (const drip of [0, 1]) {
    const clock = new ManualClock();
    const wire = new MemoryWire();
    const master = refusalOf(shakeHands(wire.a, { ...masterOptions, clock }));
    const hello = helloOf(workerOptions);
    await clock.pass(4_000);
    if (drip > 0) wire.b.send(await hello);
    await clock.pass(999);
    t.notOk(wire.a.closed);
    await clock.pass(1);
    t.equal(await master, 'handshake-timeout');
    t.ok(wire.a.closed);
  }
  const wire = new MemoryWire();
  const master = refusalOf(shakeHands(wire.a, masterOptions));
  wire.b.close();
  t.equal(await master, 'link-closed', 'a link that ends ends it too');
});

async function helloOf(options: HandshakeOptions): Promise<Uint8Array> {
  const wire = new MemoryWire();
  shakeHands(wire.b, options).catch(() => {});
  const hello = await new Promise<Uint8Array>((resolve) => wire.a.onMessage(resolve));
  wire.b.close();
  return hello;
}

t.test('garbage in place of each message', async (t) => {
  const hello = await helloOf(workerOptions);
  const cases: [string, Uint8Array, string][] = [
    ['nothing', new Uint8Array(0), 'handshake-malformed'],
    ['text', new TextEncoder().encode('GET / HTTP/1.1'), 'handshake-malformed'],
    ['a cut hello', hello.subarray(0, -1), 'handshake-malformed'],
    ['a long hello', new Uint8Array([...hello, 0]), 'handshake-malformed'],
    ['a third role', hello.map((byte, index) => (index === 5 ? 2 : byte)), 'handshake-malformed'],
    ['an impossible span of versions', hello.map((byte, index) => (index === 3 ? 9 : byte)), 'handshake-malformed'],
    ['one bit flipped', hello.map((byte, index) => (index === 50 ? byte ^ 1 : byte)), 'secret-mismatch'],
    ['as large as it gets', new Uint8Array(64 * 1024).fill(0x70), 'handshake-malformed'],
  ];
  for (const [name, message, code] of cases) {
    const wire = new MemoryWire();
    const master = refusalOf(shakeHands(wire.a, masterOptions));
    wire.b.send(message);
    t.equal(await master, code, name);
    await closing(wire.a);
  }
  for (const [index, from] of [
    ['proof of the Master', 'a'],
    ['proof of the Worker', 'b'],
    ['verdict', 'a'],
  ].entries()) {
    const wire = new MemoryWire();
    let sealed = 0;
    wire.tamper = (message, end) => {
      if (message[0] === 0x70 && message.length === 166) return [message];
      return end === from[1] && sealed++ === (index === 2 ? 1 : 0) ? [message.map((byte, at) => (at === 3 ? byte ^ 4 : byte))] : [message];
    };
    const { endings, closed } = await bothEndings({}, {}, wire);
    t.ok(endings.includes('frame-tampered'), `${from[0]}`);
    t.ok(closed);
  }
});

t.test('a Master, true or not, that breaks the rules after its hello', async (t) => {
  const play = async (misbehave: (master: RawMaster) => void) => {
    const wire = new MemoryWire({ fingerprints: ['MASTER', 'WORKER'] });
    const worker = refusalOf(shakeHands(wire.b, workerOptions));
    misbehave(new RawMaster(wire.a, token, masterKeys));
    return worker;
  };
  t.equal(await play((master) => master.run({})), 'shaken', 'the raw Master itself is in order');
  t.equal(await play((master) => master.run({ ephemeral: new Uint8Array(32) })), 'handshake-malformed', 'a key of low order');
  t.equal(await play((master) => master.run({ proof: new Uint8Array(10) })), 'handshake-malformed', 'half a proof');
  t.equal(await play((master) => master.run({ name: new Uint8Array([0xff]) })), 'handshake-malformed', 'a name that is no text');
  t.equal(await play((master) => master.run({ name: new Uint8Array(1_000).fill(65) })), 'handshake-malformed', 'a name without end');
  t.equal(await play((master) => master.run({ verdict: new Uint8Array(0) })), 'handshake-malformed', 'no verdict');
  t.equal(await play((master) => master.run({ verdict: new Uint8Array([2, 65, 66]) })), 'handshake-malformed', 'a code that is none');
  t.equal(
    await play((master) => master.run({ verdict: new Uint8Array(33).fill(1) })),
    'transfer-secret-mismatch',
    'acceptance without the keys',
  );
});

t.test('what follows the handshake at once is not lost, and cannot pile up', async (t) => {
  const wire = new MemoryWire();
  const [, worker] = await shakeBoth(wire);
  for (let index = 0; index < 64; index++) wire.a.send(new Uint8Array([index]));
  await turn();
  t.same(
    worker.early.map((message) => message[0]),
    Array.from({ length: 64 }, (_, index) => index),
  );
  t.notOk(wire.b.closed);
  wire.a.send(new Uint8Array([64]));
  await turn();
  t.ok(wire.b.closed);
});

t.test('no secret is in any of the errors', async (t) => {
  t.ok(errors.length > 30);
  const secrets = [formatToken(token), toHex(token.secret), toBase64url(token.secret), transferSecret, toBase64url(masterKeys.privateKey)];
  for (const error of errors) for (const secret of secrets) t.notOk(`${error.stack}${JSON.stringify(error)}`.includes(secret));
  t.equal(redact(transferSecret), '[secret]');
});
