import { createHash, randomBytes } from 'node:crypto';
import nacl from 'tweetnacl';
import { fromBase58 } from './base58.js';
import { bytesIn, decodeDict, type Encodable, encode, integerIn, WireFault } from './bencode.js';
import { addressOf, KEY_BYTES, type RoomKeys, verifies } from './keys.js';

/** Age at which every member drops a packet; timestamps in the future are accepted. */
export const MAX_AGE_MS = 300_000;
const SIGNATURE_BYTES = 64;
const NONCE_BYTES = 8;

/** Content of a packet by its kind on the wire: p ping, m message, r call, rr reply, x leave. */
export type PacketBody =
  | { readonly y: 'p' | 'x' }
  | { readonly y: 'm' /** JSON text. */; readonly v: string }
  | { readonly y: 'r'; readonly c: string /** JSON text. */; readonly a: string /** 8 bytes. */; readonly rn: Uint8Array }
  | { readonly y: 'rr' /** JSON text. */; readonly rr: string; readonly rn: Uint8Array };

/** A packet with a valid signature. */
export interface Packet {
  readonly address: string;
  /** The sender's X25519 key. */
  readonly ek: Buffer;
  /** Timestamp of the sender's clock. */
  readonly sentAt: number;
  /** Undefined for an unknown kind. */
  readonly body: PacketBody | undefined;
}

/** Builds `{p, s}`: the packet and a signature over it. */
export function signPacket(
  keys: RoomKeys,
  token: string,
  sentAt: number,
  body: PacketBody,
  nonce: Uint8Array = randomBytes(NONCE_BYTES),
): Buffer {
  const fields: { [key: string]: Encodable } = { ...body, t: sentAt, i: token, pk: keys.pk, ek: keys.ek, n: nonce };
  const p = encode(fields);
  return encode({ p, s: keys.sign(p) });
}

/** Builds `{e, ek, n}`: a signed packet that only the owner of `theirs` can read. Throws WireFault for a key of low order. */
export function sealPacket(
  keys: RoomKeys,
  theirs: Uint8Array,
  signed: Uint8Array,
  nonce: Uint8Array = randomBytes(nacl.secretbox.nonceLength),
): Buffer {
  const shared = keys.sharedKey(theirs);
  if (shared === undefined) throw new WireFault('a key of low order');
  return encode({ e: nacl.secretbox(signed, nonce, shared), ek: keys.ek, n: nonce });
}

/**
 * Reads the packet in a channel message; `unreadable` if it is sealed for another member. Throws WireFault for an invalid packet, a bad
 * signature, or a packet of another room.
 */
export function readMessage(keys: RoomKeys, token: string, message: Buffer): Packet | 'unreadable' {
  const outer = decodeDict(message);
  if (!outer.has('e')) return readSigned(token, outer);
  const nonce = bytesIn(outer, 'n');
  if (nonce.length !== nacl.secretbox.nonceLength) throw new WireFault('a nonce of another length');
  const shared = keys.sharedKey(keyIn(bytesIn(outer, 'ek')));
  const opened = shared && nacl.secretbox.open(bytesIn(outer, 'e'), nonce, shared);
  return opened ? readSigned(token, decodeDict(Buffer.from(opened.buffer, opened.byteOffset, opened.byteLength))) : 'unreadable';
}

function readSigned(token: string, outer: ReturnType<typeof decodeDict>): Packet {
  const signed = bytesIn(outer, 'p');
  const signature = bytesIn(outer, 's');
  const packet = decodeDict(signed);
  if (bytesIn(packet, 'i').toString() !== token) throw new WireFault('of another room');
  const publicKey = keyIn(bytesIn(packet, 'pk'));
  if (signature.length !== SIGNATURE_BYTES || !verifies(publicKey, signed, signature)) throw new WireFault('a bad signature');
  return {
    address: addressOf(publicKey),
    ek: keyIn(bytesIn(packet, 'ek')),
    sentAt: integerIn(packet, 't'),
    body: readBody(packet),
  };
}

function readBody(packet: ReturnType<typeof decodeDict>): PacketBody | undefined {
  const text = (key: string) => bytesIn(packet, key).toString();
  const y = text('y');
  switch (y) {
    case 'p':
    case 'x':
      return { y };
    case 'm':
      return { y, v: text('v') };
    case 'r':
      return { y, c: text('c'), a: text('a'), rn: bytesIn(packet, 'rn') };
    case 'rr':
      return { y, rr: text('rr'), rn: bytesIn(packet, 'rn') };
    default:
      return undefined;
  }
}

/** Decodes a base58 key of a handshake or packet. Throws WireFault. */
export function keyIn(text: Buffer): Buffer {
  return fromBase58(text.toString('latin1'), KEY_BYTES);
}

/** Id of a message for deduplication, hexadecimal. */
export function messageId(message: Uint8Array): string {
  return createHash('sha512').update(message).digest('hex').slice(32);
}
