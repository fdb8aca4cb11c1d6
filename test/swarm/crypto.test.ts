import { createHash } from 'node:crypto';
import t from 'tap';
import nacl from 'tweetnacl';
import { toHex, toUtf8 } from '../../src/swarm/bytes.js';
import { nodePrimitives as primitives } from '../../src/swarm/crypto.node.js';
import { createKeyPair, identityId, keyPairFromSeed } from '../../src/swarm/identity.js';

const hex = (text: string) => new Uint8Array(Buffer.from(text, 'hex'));

t.test('HKDF, RFC 5869 case 1 (its info is bytes of ASCII and more, so label and length differ) and HMAC, RFC 4231 case 2', async (t) => {
  const [ikm, salt] = [hex('0b'.repeat(22)), hex('000102030405060708090a0b0c')];
  const prk = primitives.hmacSha256(salt, ikm);
  t.equal(toHex(prk), '077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5');
  t.equal(toHex(primitives.hkdfSha256(ikm, salt, 'label', 32)), toHex(primitives.hmacSha256(prk, toUtf8('label\x01'))));
  t.equal(
    toHex(primitives.hmacSha256(toUtf8('Jefe'), toUtf8('what do ya want for nothing?'))),
    '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
  );
  t.equal(toHex(primitives.sha256(toUtf8('abc'))), createHash('sha256').update('abc').digest('hex'));
});

t.test('AES-256-GCM opens only what was sealed', async (t) => {
  // NIST GCM test case 14.
  t.equal(
    toHex(primitives.seal(new Uint8Array(32), new Uint8Array(12), new Uint8Array(16))),
    'cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919',
  );
  const [key, nonce, aad] = [primitives.randomBytes(32), primitives.randomBytes(12), toUtf8('about')];
  const plaintext = primitives.randomBytes(1_000);
  const sealed = primitives.seal(key, nonce, plaintext, aad);
  t.same(primitives.open(key, nonce, sealed, aad), plaintext);
  t.equal(primitives.open(key, nonce, sealed), undefined, 'without what it is about');
  t.equal(primitives.open(primitives.randomBytes(32), nonce, sealed, aad), undefined, 'other key');
  t.equal(primitives.open(key, primitives.randomBytes(12), sealed, aad), undefined, 'other nonce');
  t.equal(primitives.open(key, nonce, sealed.subarray(0, -1), aad), undefined, 'cut');
  t.equal(primitives.open(key, nonce, new Uint8Array(15), aad), undefined, 'shorter than a tag');
  for (let at = 0; at < sealed.length; at += 37) {
    const flipped = sealed.slice();
    flipped[at] = (flipped[at] ?? 0) ^ 1;
    t.equal(primitives.open(key, nonce, flipped, aad), undefined);
  }
});

t.test('Ed25519 signatures are those of tweetnacl', async (t) => {
  const seed = primitives.randomBytes(32);
  const pair = keyPairFromSeed(primitives, seed);
  t.equal(toHex(pair.publicKey), toHex(nacl.sign.keyPair.fromSeed(seed).publicKey));
  t.throws(() => keyPairFromSeed(primitives, seed.subarray(1)), RangeError);
  const message = toUtf8('said');
  const signature = primitives.sign(pair.privateKey, message);
  t.equal(toHex(signature), toHex(nacl.sign.detached(message, nacl.sign.keyPair.fromSeed(seed).secretKey)));
  t.ok(primitives.verify(pair.publicKey, message, signature));
  t.notOk(primitives.verify(pair.publicKey, toUtf8('sad'), signature));
  t.notOk(primitives.verify(createKeyPair(primitives).publicKey, message, signature));
  t.notOk(primitives.verify(new Uint8Array(31), message, signature));
  t.notOk(primitives.verify(new Uint8Array(32).fill(255), message, signature));
  t.notOk(primitives.verify(pair.publicKey, message, signature.subarray(1)));
  t.match(identityId(pair.publicKey), /^[\w-]{43}$/);
});

t.test('X25519 agrees with tweetnacl, and refuses keys of low order', async (t) => {
  const ours = primitives.startAgreement();
  const theirs = nacl.box.keyPair();
  const agreed = ours.agree(theirs.publicKey);
  t.equal(toHex(agreed ?? new Uint8Array()), toHex(nacl.scalarMult(theirs.secretKey, ours.publicKey)));
  t.not(toHex(ours.publicKey), toHex(primitives.startAgreement().publicKey));
  t.equal(ours.agree(new Uint8Array(32)), undefined);
  t.equal(ours.agree(new Uint8Array(32).fill(1, 0, 1)), undefined);
  t.equal(ours.agree(theirs.publicKey.subarray(1)), undefined);
});
