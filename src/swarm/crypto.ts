/**
 * The cryptographic primitives that differ between engines. All of them are synchronous, because every message of a link is sealed or
 * opened.
 * Each engine supplies its native implementation. tweetnacl computes the same bytes everywhere, but takes 3 ms to sign, 8 ms to verify, 1
 * ms per X25519 step, and 25 ms for a public key in a process that has just started; a Master to which 200 Workers return at once pays
 * that for each of them.
 */
export interface Primitives {
  randomBytes(length: number): Uint8Array;
  /** Returns 32 bytes. */
  sha256(data: Uint8Array): Uint8Array;
  /** Returns 32 bytes. */
  hmacSha256(key: Uint8Array, data: Uint8Array): Uint8Array;
  /** HKDF (RFC 5869), extract and expand; `label` is its info parameter. */
  hkdfSha256(secret: Uint8Array, salt: Uint8Array, label: string, length: number): Uint8Array;
  /** AES-256-GCM. Returns the ciphertext followed by the 16-byte tag. A nonce (12 bytes) must never be used twice with the same key. */
  seal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, aad?: Uint8Array): Uint8Array;
  /** Returns undefined if anything was altered. */
  open(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, aad?: Uint8Array): Uint8Array | undefined;
  /** Starts one side of an X25519 key agreement with a fresh key. */
  startAgreement(): Agreement;
  /** Returns the Ed25519 public key of a 32-byte seed; throws if the seed has another length. */
  publicKey(privateKey: Uint8Array): Uint8Array;
  /** Signs with Ed25519; `privateKey` is the 32-byte seed, the signature has 64 bytes. */
  sign(privateKey: Uint8Array, message: Uint8Array): Uint8Array;
  /** Returns false for a wrong signature and for an invalid key. */
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
}

export interface Agreement {
  /** 32 bytes to send to the other side. */
  readonly publicKey: Uint8Array;
  /** Returns the 32 bytes that both sides agree on; undefined for a low-order key, which would make them the same for everybody. */
  agree(theirPublicKey: Uint8Array): Uint8Array | undefined;
}

export const KEY_BYTES = 32;
export const NONCE_BYTES = 12;
export const TAG_BYTES = 16;
export const SIGNATURE_BYTES = 64;
