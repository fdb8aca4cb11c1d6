/**
 * The cryptography that differs from engine to engine. All of it is synchronous, because a frame is sealed or opened for every
 * message of a link. The engine's own does what tweetnacl could do everywhere with the same bytes, because that takes 3 ms to sign, 8 ms to verify, 1 ms for
 * each step of X25519, and in a process that has just started 25 ms for a public key; and a Master that 200 Workers return to at once does it for each of them.
 */
export interface Primitives {
  randomBytes(length: number): Uint8Array;
  /** 32 bytes. */
  sha256(data: Uint8Array): Uint8Array;
  /** 32 bytes. */
  hmacSha256(key: Uint8Array, data: Uint8Array): Uint8Array;
  /** HKDF (RFC 5869), extract and expand; the label is the info. */
  hkdfSha256(secret: Uint8Array, salt: Uint8Array, label: string, length: number): Uint8Array;
  /** AES-256-GCM: ciphertext followed by the 16-byte tag. A nonce (12 bytes) must never be used twice with one key. */
  seal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, aad?: Uint8Array): Uint8Array;
  /** Undefined if anything was altered. */
  open(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, aad?: Uint8Array): Uint8Array | undefined;
  /** One side of an X25519 key agreement, with a fresh key. */
  startAgreement(): Agreement;
  /** Ed25519, of a 32-byte seed. Throws if it has another length. */
  publicKey(privateKey: Uint8Array): Uint8Array;
  /** Ed25519; `privateKey` is the 32-byte seed, the signature 64 bytes. */
  sign(privateKey: Uint8Array, message: Uint8Array): Uint8Array;
  /** False for a wrong signature and for a key that is none. */
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
}

export interface Agreement {
  /** 32 bytes, for the other side. */
  readonly publicKey: Uint8Array;
  /** The 32 bytes that both sides agree on; undefined for a key that would make them the same for everybody. */
  agree(theirPublicKey: Uint8Array): Uint8Array | undefined;
}

export const KEY_BYTES = 32;
export const NONCE_BYTES = 12;
export const TAG_BYTES = 16;
export const SIGNATURE_BYTES = 64;
