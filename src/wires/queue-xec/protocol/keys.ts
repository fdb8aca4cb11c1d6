import { createHash, createPrivateKey, createPublicKey, diffieHellman, generateKeyPairSync, type KeyObject } from 'node:crypto';
import nacl from 'tweetnacl';
import { nodePrimitives } from '../../../swarm/crypto.node.js';
import { createKeyPair, type KeyPair } from '../../../swarm/identity.js';
import { base58, base58check } from './base58.js';

/** DER headers of raw X25519 keys (RFC 8410), because node:crypto does not import raw keys. */
const x25519PrivateHeader = Buffer.from('302e020100300506032b656e04220420', 'hex');
const x25519Header = Buffer.from('302a300506032b656e032100', 'hex');
/** Keys of members; both kinds, of Ed25519 and X25519, have this size. */
export const KEY_BYTES = 32;
const ADDRESS_PREFIX = 0x55;
const PIECE_BYTES = 16_384;
/** Shared keys are cached, because deriving one costs more than the rest of opening a message. */
const MAX_SHARED = 256;

/** The function of tweetnacl that derives a box key from an X25519 secret; it exists but is missing from the types. */
const { crypto_core_hsalsa20: hsalsa20 } = (
  nacl as unknown as {
    readonly lowlevel: { crypto_core_hsalsa20(out: Uint8Array, input: Uint8Array, key: Uint8Array, constant: Uint8Array): void };
  }
).lowlevel;
const SIGMA = new TextEncoder().encode('expand 32-byte k');

/** A peer's identity in a room: Ed25519 for signatures, X25519 for sealing. Both are generated at every start, as in queue-xec itself. */
export class RoomKeys {
  readonly signing: KeyPair;
  /** Public keys in base58, as in messages. */
  readonly pk: string;
  readonly ek: string;
  readonly address: string;
  readonly #boxKey: KeyObject;
  readonly #shared = new Map<string, Uint8Array | undefined>();

  constructor(signing = createKeyPair(nodePrimitives), boxSecret?: Uint8Array) {
    this.signing = signing;
    this.#boxKey =
      boxSecret === undefined
        ? generateKeyPairSync('x25519').privateKey
        : createPrivateKey({ key: Buffer.concat([x25519PrivateHeader, boxSecret]), format: 'der', type: 'pkcs8' });
    this.pk = base58(signing.publicKey);
    this.ek = base58(createPublicKey(this.#boxKey).export({ format: 'der', type: 'spki' }).subarray(x25519Header.length));
    this.address = addressOf(signing.publicKey);
  }

  sign(bytes: Uint8Array): Uint8Array {
    return nodePrimitives.sign(this.signing.privateKey, bytes);
  }

  /** Returns the NaCl box key shared with the owner of `theirs`; undefined for a key of low order. */
  sharedKey(theirs: Uint8Array): Uint8Array | undefined {
    const name = Buffer.from(theirs).toString('latin1');
    if (this.#shared.has(name)) return this.#shared.get(name);
    const key = this.#agree(theirs);
    this.#shared.set(name, key);
    const [oldest] = this.#shared.keys();
    if (this.#shared.size > MAX_SHARED && oldest !== undefined) this.#shared.delete(oldest);
    return key;
  }

  #agree(theirs: Uint8Array): Uint8Array | undefined {
    try {
      const publicKey = createPublicKey({ key: Buffer.concat([x25519Header, theirs]), format: 'der', type: 'spki' });
      const key = new Uint8Array(KEY_BYTES);
      hsalsa20(key, new Uint8Array(16), diffieHellman({ privateKey: this.#boxKey, publicKey }), SIGMA);
      return key;
    } catch {
      return undefined;
    }
  }
}

export function verifies(publicKey: Uint8Array, bytes: Uint8Array, signature: Uint8Array): boolean {
  return nodePrimitives.verify(publicKey, bytes, signature);
}

/** A peer's address: base58check of RIPEMD-160 of SHA-512 of its Ed25519 key. Begins with `b`. */
export function addressOf(publicKey: Uint8Array): string {
  const hash = createHash('ripemd160').update(createHash('sha512').update(publicKey).digest()).digest();
  return base58check(Buffer.concat([Buffer.of(ADDRESS_PREFIX), hash]));
}

/** Info hash of the room with this token: SHA-1 of the info dictionary of a torrent whose name and content are the token. */
export function infoHashOf(token: string): Buffer {
  const bytes = Buffer.from(token);
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += PIECE_BYTES)
    pieces.push(
      createHash('sha1')
        .update(bytes.subarray(at, at + PIECE_BYTES))
        .digest(),
    );
  const info = Buffer.concat([
    Buffer.from(`d6:lengthi${bytes.length}e4:name${bytes.length}:`),
    bytes,
    Buffer.from(`12:piece lengthi${PIECE_BYTES}e6:pieces${pieces.length * 20}:`),
    ...pieces,
    Buffer.from('e'),
  ]);
  return createHash('sha1').update(info).digest();
}
