import { toBase64url } from './bytes.js';
import { KEY_BYTES, type Primitives } from './crypto.js';

/** The identity of a peer: an Ed25519 key pair. */
export interface KeyPair {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** The 32-byte seed. */
  readonly privateKey: Uint8Array;
}

export function createKeyPair(primitives: Primitives): KeyPair {
  return keyPairFromSeed(primitives, primitives.randomBytes(KEY_BYTES));
}

/** Throws if the seed is not 32 bytes long. */
export function keyPairFromSeed(primitives: Primitives, seed: Uint8Array): KeyPair {
  return { publicKey: primitives.publicKey(seed), privateKey: seed };
}

/** Returns the id by which a peer is distinguished from others: its public key in base64url (43 characters). */
export function identityId(publicKey: Uint8Array): string {
  return toBase64url(publicKey);
}
