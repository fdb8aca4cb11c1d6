import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  randomBytes,
  sign,
  verify,
} from 'node:crypto';
import { KEY_BYTES, type Primitives, SIGNATURE_BYTES, TAG_BYTES } from './crypto.js';

/** DER headers for raw keys (RFC 8410), because node:crypto does not import raw ones. */
const ed25519PrivateHeader = Buffer.from('302e020100300506032b657004220420', 'hex');
const ed25519Header = Buffer.from('302a300506032b6570032100', 'hex');
const x25519Header = Buffer.from('302a300506032b656e032100', 'hex');

/** Importing a private key takes longer than signing with it, and a peer signs with the same key every time. */
const signingKeys = new WeakMap<Uint8Array, KeyObject>();

function signingKeyOf(seed: Uint8Array): KeyObject {
  const known = signingKeys.get(seed);
  if (known !== undefined) return known;
  const key = createPrivateKey({ key: Buffer.concat([ed25519PrivateHeader, seed]), format: 'der', type: 'pkcs8' });
  signingKeys.set(seed, key);
  return key;
}

function publicKeyOf(header: Buffer, bytes: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.concat([header, bytes]), format: 'der', type: 'spki' });
}

export const nodePrimitives: Primitives = {
  randomBytes: (length) => randomBytes(length),
  sha256: (data) => createHash('sha256').update(data).digest(),
  hmacSha256: (key, data) => createHmac('sha256', key).update(data).digest(),
  hkdfSha256: (secret, salt, label, length) => new Uint8Array(hkdfSync('sha256', secret, salt, label, length)),

  seal(key, nonce, plaintext, aad) {
    const cipher = createCipheriv('aes-256-gcm', key, nonce);
    if (aad !== undefined) cipher.setAAD(aad);
    const sealed = new Uint8Array(plaintext.length + TAG_BYTES);
    sealed.set(cipher.update(plaintext), 0);
    cipher.final();
    sealed.set(cipher.getAuthTag(), plaintext.length);
    return sealed;
  },

  open(key, nonce, sealed, aad) {
    const end = sealed.length - TAG_BYTES;
    if (end < 0) return undefined;
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
    if (aad !== undefined) decipher.setAAD(aad);
    decipher.setAuthTag(sealed.subarray(end));
    const plaintext = decipher.update(sealed.subarray(0, end));
    try {
      decipher.final();
    } catch {
      return undefined;
    }
    return plaintext;
  },

  startAgreement() {
    const { publicKey, privateKey } = generateKeyPairSync('x25519');
    return {
      publicKey: publicKey.export({ format: 'der', type: 'spki' }).subarray(x25519Header.length),
      agree(theirs) {
        if (theirs.length !== KEY_BYTES) return undefined;
        try {
          // OpenSSL rejects keys of low order.
          return diffieHellman({ privateKey, publicKey: publicKeyOf(x25519Header, theirs) });
        } catch {
          return undefined;
        }
      },
    };
  },

  publicKey(privateKey) {
    if (privateKey.length !== KEY_BYTES) throw new RangeError('a seed has 32 bytes');
    const der = createPublicKey(signingKeyOf(privateKey)).export({ format: 'der', type: 'spki' });
    return new Uint8Array(der.subarray(ed25519Header.length));
  },

  sign(privateKey, message) {
    return sign(null, message, signingKeyOf(privateKey));
  },

  verify(publicKey, message, signature) {
    if (publicKey.length !== KEY_BYTES || signature.length !== SIGNATURE_BYTES) return false;
    try {
      return verify(null, message, publicKeyOf(ed25519Header, publicKey), signature);
    } catch {
      return false;
    }
  },
};
