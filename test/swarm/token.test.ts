import t from 'tap';
import { PeerworkError } from '../../src/errors.js';
import { redact } from '../../src/log.js';
import { fromBase64url, toBase64url, toHex } from '../../src/swarm/bytes.js';
import { nodePrimitives } from '../../src/swarm/crypto.node.js';
import { createKeyPair, keyPairFromSeed } from '../../src/swarm/identity.js';
import { createToken, formatToken, handshakeKey, INFO_HASH_BYTES, parseToken, rendezvousHashes, SHARDS } from '../../src/swarm/token.js';

const keyPair = createKeyPair(nodePrimitives);
const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

function codeOf(text: string): string {
  try {
    parseToken(text);
    return 'accepted';
  } catch (error) {
    return error instanceof PeerworkError ? error.code : String(error);
  }
}

t.test('a token survives being written and read', async (t) => {
  const trackers = ['wss://tracker.example:443/announce', 'ws://127.0.0.1:8000'];
  const ice = ['stun:stun.example:3478', 'turn:user:a-long-password@turn.example:3478?transport=tcp'];
  for (const input of [{}, { trackers }, { ice }, { trackers, ice }]) {
    const token = createToken({ publicKey: keyPair.publicKey, ...input }, nodePrimitives);
    const text = formatToken(token);
    t.match(text, /^pw1\.[\w-]+$/);
    const read = parseToken(text);
    t.same(Buffer.from(read.publicKey), Buffer.from(token.publicKey));
    t.same(Buffer.from(read.secret), Buffer.from(token.secret));
    t.same(read.trackers, token.trackers);
    t.same(read.ice, token.ice);
    for (const around of [` ${text}\n`, `"${text}"`, `'${text}'\r\n`, `\`${text}\``]) t.equal(codeOf(around), 'accepted');
  }
  const secret = nodePrimitives.randomBytes(32);
  t.same(createToken({ publicKey: keyPair.publicKey, secret }, nodePrimitives).secret, secret, 'a given secret is kept');
});

t.test('a token of any release of this version is understood, and concealed', async (t) => {
  const text =
    'pw1.AQBriojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1wHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHB3sidHJhY2tlcnMiOlsid3M6Ly8xMjcuMC4wLjE6ODAwMCJdffcScTs';
  t.match(redact(text), text, 'it was not written in this process');
  const token = parseToken(text);
  t.same(token.secret, new Uint8Array(32).fill(7));
  t.same(token.publicKey, keyPairFromSeed(nodePrimitives, new Uint8Array(32).fill(1)).publicKey);
  t.same(token.trackers, ['ws://127.0.0.1:8000']);
  t.equal(redact(text), '[secret]');
});

t.test('a cut token is told apart from a mistyped one', async (t) => {
  for (const tracker of ['ws://a', 'ws://ab', 'ws://abc']) {
    const text = formatToken(createToken({ publicKey: keyPair.publicKey, trackers: [tracker] }, nodePrimitives));
    for (let length = 1; length < text.length; length++) if (codeOf(text.slice(0, length)) !== 'token-cut') t.fail(`cut at ${length}`);
    for (let at = 4; at < text.length; at++) {
      for (const wrong of tracker === 'ws://a' ? `${alphabet}*` : 'Az09-_*') {
        if (wrong === text[at]) continue;
        const code = codeOf(text.slice(0, at) + wrong + text.slice(at + 1));
        if (code !== 'token-mistyped') t.fail(`${wrong} at ${at}: ${code}`);
      }
    }
    for (let at = 8; at < text.length - 1; at++) {
      const swapped = text.slice(0, at) + text[at + 1] + text[at] + text.slice(at + 2);
      if (swapped !== text && codeOf(swapped) !== 'token-mistyped') t.fail(`swapped at ${at}`);
    }
    t.equal(codeOf(`${text}A`), 'token-mistyped', 'too long');
  }
});

t.test('what is no token, or a newer one, is named', async (t) => {
  for (const text of ['', 'hello', 'PW1.AAAA', 'pw0.AAAA', 'https://pw1.example', `pw1.${'A'.repeat(9_000)}`])
    t.equal(codeOf(text), 'token-malformed', text);
  t.equal(codeOf('pw2.AAAA'), 'token-newer');
  t.equal(codeOf('pw17.AAAA'), 'token-newer');
  const bytes = fromBase64url(formatToken(createToken({ publicKey: keyPair.publicKey }, nodePrimitives)).slice(4)) ?? new Uint8Array();
  t.equal(bytes.length, 71);
  const tooMany = Array.from({ length: 17 }, (_, index) => `ws://tracker${index}`);
  for (const bad of [
    { trackers: ['http://a'] },
    { trackers: ['ws://'] },
    { ice: ['https://a'] },
    { trackers: tooMany },
    { secret: new Uint8Array(31) },
  ])
    t.throws(() => createToken({ publicKey: keyPair.publicKey, ...bad }, nodePrimitives), { code: 'token-malformed' });
});

t.test('everything is derived from the secret, each under its own label', async (t) => {
  const token = createToken({ publicKey: keyPair.publicKey, secret: new Uint8Array(32).fill(7) }, nodePrimitives);
  const other = createToken({ publicKey: keyPair.publicKey }, nodePrimitives);
  const hashes = rendezvousHashes(token, nodePrimitives).map(toHex);
  t.equal(hashes.length, SHARDS);
  t.equal(new Set([...hashes, ...rendezvousHashes(other, nodePrimitives).map(toHex)]).size, 2 * SHARDS);
  t.ok(hashes.every((hash) => hash.length === 2 * INFO_HASH_BYTES));
  t.equal(hashes[0], 'e9c52dd2fa92debe3f69066be9d9feb92ad39bc4', 'peers of all releases meet in the same place');
  t.notSame(handshakeKey(token, nodePrimitives), handshakeKey(other, nodePrimitives));
  t.equal(handshakeKey(token, nodePrimitives).length, 32);
});

t.test('token, secret and TURN password never reach a log', async (t) => {
  const token = createToken({ publicKey: keyPair.publicKey, ice: ['turn:user:a-long-password@turn.example'] }, nodePrimitives);
  const text = formatToken(token);
  for (const secret of [text, toBase64url(token.secret), toHex(token.secret), 'a-long-password']) t.notMatch(redact(`x${secret}x`), secret);
});

t.test('bytes have exactly one spelling in base64url', async (t) => {
  for (let length = 0; length < 70; length++) {
    const bytes = nodePrimitives.randomBytes(length);
    t.equal(toBase64url(bytes), Buffer.from(bytes).toString('base64url'));
    t.same(fromBase64url(toBase64url(bytes)), new Uint8Array(bytes));
  }
  for (const text of ['A', 'AB', 'AAB', 'AA=', 'A+AA', 'AA\n', 'ÄÄÄÄ']) t.equal(fromBase64url(text), undefined, text);
});
