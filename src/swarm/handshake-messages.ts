import { printable } from '../kit/printable.js';
import { equalBytes, fromUtf8, joinBytes, toUtf8 } from './bytes.js';
import { KEY_BYTES, type Primitives, SIGNATURE_BYTES } from './crypto.js';
import type { Role } from './peer.js';

/**
 * The binary encoding of the handshake's messages; docs/protocol.md shows them as tables.
 *
 * The first five bytes of a hello keep their meaning in all future versions, so that a peer of another version can be distinguished from
 * garbage.
 */
export interface Hello {
  /** Range of protocol versions that the sender speaks. */
  readonly oldest: number;
  readonly newest: number;
  readonly role: Role;
  readonly nonce: Uint8Array;
  /** X25519 public key, for this session only. */
  readonly ephemeral: Uint8Array;
  /** SHA-256 of the certificate fingerprints of the sender (`local`) and of the receiver (`remote`), as the sender sees them. */
  readonly local: Uint8Array;
  readonly remote: Uint8Array;
}

const MAX_NAME_CHARS = 64;

const MAGIC = [0x70, 0x77, 0x01];
const HELLO_FIXED = 6;
const HELLO_BYTES = HELLO_FIXED + 4 * 32 + 32;
const MAX_NAME_BYTES = 4 * MAX_NAME_CHARS;
const roles: readonly Role[] = ['master', 'worker'];

export function encodeHello(hello: Hello, key: Uint8Array, primitives: Primitives): Uint8Array {
  const fixed = new Uint8Array([...MAGIC, hello.oldest, hello.newest, roles.indexOf(hello.role)]);
  const body = joinBytes(fixed, hello.nonce, hello.ephemeral, hello.local, hello.remote);
  return joinBytes(body, primitives.hmacSha256(key, body));
}

/** Returns the versions in a hello, before anything else in it is checked; undefined if it is not a hello. */
export function helloVersions(bytes: Uint8Array): { readonly oldest: number; readonly newest: number } | undefined {
  const [oldest, newest] = [bytes[3], bytes[4]];
  if (oldest === undefined || newest === undefined || oldest > newest) return undefined;
  return MAGIC.every((byte, index) => bytes[index] === byte) ? { oldest, newest } : undefined;
}

export function helloFits(bytes: Uint8Array): boolean {
  return bytes.length === HELLO_BYTES && (bytes[5] ?? roles.length) < roles.length;
}

/** Whether the sender of the hello holds the secret. */
export function helloIsProven(bytes: Uint8Array, key: Uint8Array, primitives: Primitives): boolean {
  return equalBytes(primitives.hmacSha256(key, bytes.subarray(0, -32)), bytes.subarray(-32));
}

/** Decodes bytes for which `helloFits` has returned true. */
export function decodeHello(bytes: Uint8Array): Hello {
  const part = (index: number) => bytes.slice(HELLO_FIXED + index * 32, HELLO_FIXED + (index + 1) * 32);
  return {
    oldest: bytes[3] ?? 0,
    newest: bytes[4] ?? 0,
    role: roles[bytes[5] ?? 0] ?? 'worker',
    nonce: part(0),
    ephemeral: part(1),
    local: part(2),
    remote: part(3),
  };
}

/** Decodes the Master's proof: signature, name. */
export function decodeMasterProof(plaintext: Uint8Array): { readonly signature: Uint8Array; readonly name: Uint8Array } | undefined {
  const name = plaintext.subarray(SIGNATURE_BYTES);
  if (plaintext.length < SIGNATURE_BYTES || name.length > MAX_NAME_BYTES) return undefined;
  return { signature: plaintext.subarray(0, SIGNATURE_BYTES), name };
}

/** Decodes the Worker's proof: public key, signature, proof of the transfer secret, name. */
export function decodeWorkerProof(plaintext: Uint8Array) {
  const [afterKey, afterSignature, afterTransfer] = [KEY_BYTES, KEY_BYTES + SIGNATURE_BYTES, 2 * KEY_BYTES + SIGNATURE_BYTES];
  const name = plaintext.subarray(afterTransfer);
  if (plaintext.length < afterTransfer || name.length > MAX_NAME_BYTES) return undefined;
  return {
    publicKey: plaintext.slice(0, afterKey),
    signature: plaintext.subarray(afterKey, afterSignature),
    transferProof: plaintext.subarray(afterSignature, afterTransfer),
    name,
  };
}

export function signedByMaster(transcript: Uint8Array, name: Uint8Array): Uint8Array {
  return joinBytes(toUtf8('peerwork handshake: master\n'), transcript, name);
}

export function signedByWorker(transcript: Uint8Array, publicKey: Uint8Array, name: Uint8Array): Uint8Array {
  return joinBytes(toUtf8('peerwork handshake: worker\n'), transcript, publicKey, name);
}

/** Encodes at most 64 printable characters. */
export function encodeName(name: string): Uint8Array {
  return toUtf8(printable(name, MAX_NAME_CHARS));
}

/** Returns at most 64 printable characters; undefined if the bytes are not UTF-8. */
export function decodeName(bytes: Uint8Array): string | undefined {
  const name = fromUtf8(bytes);
  return name === undefined ? undefined : printable(name, MAX_NAME_CHARS);
}
