import { readFileSync } from 'node:fs';
import t from 'tap';
import { nodePrimitives } from '../../../../src/swarm/crypto.node.js';
import { keyPairFromSeed } from '../../../../src/swarm/identity.js';
import { base58, base58check, fromBase58 } from '../../../../src/wires/queue-xec/protocol/base58.js';
import { decode, encode } from '../../../../src/wires/queue-xec/protocol/bencode.js';
import { addressOf, infoHashOf, RoomKeys } from '../../../../src/wires/queue-xec/protocol/keys.js';
import { messageId, readMessage, sealPacket, signPacket } from '../../../../src/wires/queue-xec/protocol/packet.js';
import { sha256Of, TransferKey, unifiedHash } from '../../../../src/wires/queue-xec/protocol/transfer.js';

/** Generated with the libraries that queue-xec itself uses. */
const vectors = JSON.parse(readFileSync(new URL('../../../../../test/wires/queue-xec/protocol/vectors.json', import.meta.url), 'utf8'));
const hex = (text: string) => Buffer.from(text, 'hex');

const sender = new RoomKeys(keyPairFromSeed(nodePrimitives, hex(vectors.signing.seed_hex)), hex(vectors.box.senderSecret_hex));
const receiver = new RoomKeys(undefined, hex(vectors.box.receiverSecret_hex));
const { fields } = vectors.packet;
const body = { y: 'r', c: fields.c, a: fields.a, rn: hex(fields.rn_hex) } as const;

t.test('a token names its room', async (t) => {
  t.equal(infoHashOf(vectors.identifier).toString('hex'), vectors.infoHash);
  for (const [token, infoHash] of Object.entries(vectors.moreInfoHashes)) t.equal(infoHashOf(token).toString('hex'), infoHash, token);
});

t.test('keys and addresses are written as by the others', async (t) => {
  t.equal(Buffer.from(sender.signing.publicKey).toString('hex'), vectors.signing.publicKey_hex);
  t.equal(sender.pk, vectors.signing.pk_base58);
  t.equal(sender.address, vectors.signing.address);
  t.equal(addressOf(sender.signing.publicKey), vectors.signing.address);
  t.equal(sender.ek, vectors.box.ek_base58);
  t.equal(fromBase58(receiver.ek, 32).toString('hex'), vectors.box.receiverPublic_hex);
  t.equal(base58check(Buffer.concat([hex('490a'), hex(vectors.signing.seed_hex)])), vectors.signing.seed_string);
  t.equal(base58(Buffer.alloc(3)), '111', 'zeros in front stay');
  t.same(fromBase58('111', 3), Buffer.alloc(3));
});

t.test('two peers agree on the same box key', async (t) => {
  t.same(Buffer.from(sender.sharedKey(hex(vectors.box.receiverPublic_hex)) ?? []), hex(vectors.box.sharedKey_hex));
  t.same(Buffer.from(receiver.sharedKey(hex(vectors.box.senderPublic_hex)) ?? []), hex(vectors.box.sharedKey_hex));
  t.equal(sender.sharedKey(Buffer.alloc(32)), undefined, 'a key of low order makes none');
});

t.test('a packet is signed and sealed to the byte', async (t) => {
  const signed = signPacket(sender, vectors.identifier, fields.t, body, hex(fields.n_hex));
  t.equal(signed.toString('hex'), vectors.packet.signed_hex);
  const sealed = sealPacket(sender, hex(vectors.box.receiverPublic_hex), signed, hex(vectors.packet.nonce_hex));
  t.equal(sealed.toString('hex'), vectors.packet.sealed_hex);
  t.equal(messageId(sealed), vectors.packet.seenHash_hex);
});

t.test('a packet is read by whom it was sealed for, and by nobody else', async (t) => {
  const read = readMessage(receiver, vectors.identifier, hex(vectors.packet.sealed_hex));
  t.match(read, { address: vectors.signing.address, sentAt: fields.t, body: { y: 'r', c: 'isMaster', a: '{}' } });
  t.equal(readMessage(new RoomKeys(), vectors.identifier, hex(vectors.packet.sealed_hex)), 'unreadable');
  t.match(readMessage(receiver, vectors.identifier, hex(vectors.packet.signed_hex)), { address: vectors.signing.address });
  t.throws(() => readMessage(receiver, 'another room', hex(vectors.packet.signed_hex)), /another room/);
  const altered = hex(vectors.packet.signed_hex);
  altered[20] = (altered[20] ?? 0) ^ 1;
  t.throws(() => readMessage(receiver, vectors.identifier, altered));
});

t.test('the inner dictionary has its keys in order', async (t) => {
  t.same(encode({ b: 1, a: [2, 'x'], c: undefined }), Buffer.from('d1:ali2e1:xe1:bi1ee'));
  t.same(
    decode(Buffer.from('d1:ali2e1:xe1:bi-1ee')),
    new Map<string, unknown>([
      ['a', [2, Buffer.from('x')]],
      ['b', -1],
    ]),
  );
});

t.test('jobs, results and files are sealed with the transfer key', async (t) => {
  const key = new TransferKey(vectors.aes.transferEncryptToken);
  t.same(key.seal(vectors.aes.plaintext, hex(vectors.aes.iv_hex)), vectors.aes.json);
  t.equal(key.open(vectors.aes.json), vectors.aes.plaintext);
  t.equal(key.openText(vectors.aes.queuedString), vectors.aes.plaintext);
  t.not(key.seal('x').iv, key.seal('x').iv, 'each under its own iv');
  for (const wrong of [null, {}, { iv: '00', encryptedData: '' }, { ...vectors.aes.json, encryptedData: 'ff'.repeat(16) }, 'x'])
    t.equal(key.open(wrong), undefined);
  t.throws(() => new TransferKey('too short'), { code: 'option-invalid' });
});

t.test('both sides name the same files by the same hash', async (t) => {
  const files = vectors.unifiedHash.files.map((text: string) => ({ sha256: sha256Of(text) }));
  t.equal(unifiedHash(files), vectors.unifiedHash.value);
});
