import { type JsonLimits, parseJson } from '../../kit/json.js';
import { printable } from '../../kit/printable.js';
import type { Role } from '../peer.js';

/**
 * The BitTorrent WebSocket tracker protocol: JSON texts; `info_hash`, `peer_id` and `offer_id` are strings of exactly 20 characters of
 * one byte each; an offer or answer is strictly `{ type, sdp }` (some trackers drop everything else).
 *
 * The tracker passes each offer of an announce to a random other member of the swarm, and an answer to the peer named in it. It responds
 * to every announce except those that carry an answer.
 */
export type TrackerMessage =
  | { readonly kind: 'announced'; readonly members: number; readonly intervalMs: number | undefined }
  /** `retryAfterMs`: when to try again, if the tracker specifies it (BEP 31). */
  | { readonly kind: 'refused'; readonly reason: string; readonly retryAfterMs: number | undefined }
  | { readonly kind: 'offer'; readonly from: string; readonly offerId: string; readonly sdp: string }
  | { readonly kind: 'answer'; readonly from: string; readonly offerId: string; readonly sdp: string };

export interface OfferCopy {
  readonly offerId: string;
  readonly sdp: string;
}

/** Largest message that trackers accept and send; aquatic closes a connection above 64 KiB. */
export const MAX_TRACKER_MESSAGE_BYTES = 64 * 1024;
/** An offer in an announce nests four deep. */
const TRACKER_LIMITS: JsonLimits = { maxBytes: MAX_TRACKER_MESSAGE_BYTES, maxDepth: 8, maxItems: 4_096 };
/**
 * A session description without media. It only means "the Master is here", and costs neither side a PeerConnection. As an offer it is a
 * knock, upon which Workers announce theirs; as an answer it is a busy sign: the Master has seen an offer and is too busy to process it.
 */
export const KNOCK_SDP = 'v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n';
const MAX_SDP_CHARS = 16 * 1024;
const ID_CHARS = 20;
const MAX_REASON_CHARS = 200;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

type RandomBytes = (count: number) => Uint8Array;

/** The prefix carries the role, so that a worker can ignore workers. This saves work and is no security: the handshake decides. */
export function newPeerId(role: Role, randomBytes: RandomBytes): string {
  return (role === 'master' ? '-M1-' : '-W1-') + randomText(ID_CHARS - 4, randomBytes);
}

export function roleOfPeerId(peerId: string): Role | undefined {
  if (peerId.startsWith('-M')) return 'master';
  return peerId.startsWith('-W') ? 'worker' : undefined;
}

export function newOfferId(randomBytes: RandomBytes): string {
  return randomText(ID_CHARS, randomBytes);
}

function randomText(chars: number, randomBytes: RandomBytes): string {
  return Array.from(randomBytes(chars), (byte) => ALPHABET.charAt(byte % ALPHABET.length)).join('');
}

/** Encodes 20 bytes as the 20-character string of the protocol. */
export function binaryText(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

export function announceText(infoHash: string, peerId: string, offers: readonly OfferCopy[], event: '' | 'started' | 'stopped'): string {
  return JSON.stringify({
    action: 'announce',
    info_hash: infoHash,
    peer_id: peerId,
    numwant: offers.length,
    uploaded: 0,
    downloaded: 0,
    left: 1,
    ...(event === '' ? {} : { event }),
    offers: offers.map(({ offerId, sdp }) => ({ offer_id: offerId, offer: { type: 'offer', sdp } })),
  });
}

export function answerText(infoHash: string, peerId: string, to: string, offerId: string, sdp: string): string {
  return JSON.stringify({
    action: 'announce',
    info_hash: infoHash,
    peer_id: peerId,
    to_peer_id: to,
    offer_id: offerId,
    answer: { type: 'answer', sdp },
  });
}

/** Returns undefined for anything malformed or of another swarm: a tracker is never trusted. */
export function readTrackerMessage(text: string, infoHash: string): TrackerMessage | undefined {
  if (text.length > MAX_TRACKER_MESSAGE_BYTES) return undefined;
  const message = parseObject(text);
  if (!message) return undefined;
  const refusal = message['failure reason'];
  if (typeof refusal === 'string')
    return { kind: 'refused', reason: printable(refusal, MAX_REASON_CHARS), retryAfterMs: retryIn(message['retry in']) };
  if (message['info_hash'] !== infoHash || (message['action'] !== undefined && message['action'] !== 'announce')) return undefined;
  const { peer_id: from, offer_id: offerId } = message;
  if (message['offer'] !== undefined || message['answer'] !== undefined) {
    const kind = message['offer'] !== undefined ? 'offer' : 'answer';
    const sdp = sdpOf(message[kind], kind);
    if (sdp === undefined || !isId(from) || !isId(offerId)) return undefined;
    return { kind, from, offerId, sdp };
  }
  const intervalMs = 1_000 * Math.max(count(message['interval']), count(message['min interval']));
  return {
    kind: 'announced',
    members: count(message['complete']) + count(message['incomplete']),
    intervalMs: intervalMs === 0 ? undefined : intervalMs,
  };
}

function sdpOf(description: unknown, type: 'offer' | 'answer'): string | undefined {
  if (typeof description !== 'object' || description === null || !('sdp' in description) || !('type' in description)) return undefined;
  const { sdp } = description;
  return description.type === type && typeof sdp === 'string' && sdp.length <= MAX_SDP_CHARS ? sdp : undefined;
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value = parseJson(text, TRACKER_LIMITS);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether this is an `info_hash`, `peer_id` or `offer_id`. */
export function isId(value: unknown): value is string {
  return typeof value === 'string' && value.length === ID_CHARS;
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : 0;
}

/** BEP 31: minutes, or `never`. */
function retryIn(value: unknown): number | undefined {
  if (value === 'never') return Number.MAX_SAFE_INTEGER;
  const minutes = Number(value);
  return (typeof value === 'string' || typeof value === 'number') && minutes > 0 ? minutes * 60_000 : undefined;
}
