import { type JsonLimits, type JsonRefused, parseJson } from '../../kit/json.js';
import { isId } from './wire.js';

/** What a tracker accepts from a peer: everything else is refused before the protocol's library sees it. */
const MAX_OFFERS = 82;
/** An announce with offers nests four deep, and an offer has four values. */
const LIMITS: JsonLimits = { maxBytes: 256 * 1024, maxDepth: 8, maxItems: 1_024 };
const MAX_SWARMS_PER_SOCKET = 100;
const EVENTS: readonly unknown[] = [undefined, '', 'empty', 'started', 'update', 'completed', 'paused', 'stopped'];

/**
 * Returns the reason why a message is refused, or undefined. `claim` returns the peer id that the socket speaks for, which is its
 * argument on the first call; `swarms` collects the info hashes used on the socket so far.
 */
export function whyMalformed(text: string, claim: (peerId: string) => string, swarms: Set<string>): string | undefined {
  let message: unknown;
  try {
    message = parseJson(text, LIMITS);
  } catch (thrown) {
    return (thrown as JsonRefused).reason === 'malformed' ? 'not JSON' : (thrown as JsonRefused).message;
  }
  if (!isRecord(message)) return 'not an object';
  const { info_hash: infoHash, peer_id: peerId, offers, answer } = message;
  if (message['action'] !== 'announce') return 'only announce is served';
  if (!isId(infoHash)) return 'invalid info_hash';
  if (!isId(peerId)) return 'invalid peer_id';
  if (!EVENTS.includes(message['event'])) return 'invalid event';
  if (offers !== undefined && offers !== null && !(Array.isArray(offers) && offers.length <= MAX_OFFERS && offers.every(isOffer)))
    return 'invalid offers';
  if (answer !== undefined && answer !== null && !(isDescription(answer) && isId(message['to_peer_id']) && isId(message['offer_id'])))
    return 'invalid response';
  if (claim(peerId) !== peerId) return 'another peer_id was used on this socket';
  if (!swarms.has(infoHash) && swarms.size >= MAX_SWARMS_PER_SOCKET) return 'too many swarms on one socket';
  swarms.add(infoHash);
  return undefined;
}

function isOffer(value: unknown): boolean {
  return isRecord(value) && isId(value['offer_id']) && isDescription(value['offer']);
}

function isDescription(value: unknown): boolean {
  return isRecord(value) && typeof value['type'] === 'string' && typeof value['sdp'] === 'string';
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
