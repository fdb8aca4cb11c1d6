import { type Clock, systemClock } from '../clock.js';
import { PeerworkError } from '../errors.js';
import { createLog, type Log } from '../log.js';
import { checkTransferSecret } from './handshake.js';
import type { KeyPair } from './identity.js';
import { defaultIceServers, type IceServerInit, readIceServers } from './link/ice.js';
import type { PeerFacts, RpcHandlers } from './peer.js';
import type { Platform } from './platform.js';
import type { TrackerTimes } from './rendezvous/tracker-client.js';
import { parseToken, type Token } from './token.js';

/**
 * Public WebSocket trackers, used when neither the token nor an option names any. Volunteers run them, and they come and go, hence
 * several. They see addresses and certificate fingerprints of peers, never the secret of the token.
 */
export const publicTrackers: readonly string[] = [
  'wss://tracker.openwebtorrent.com',
  'wss://tracker.webtorrent.dev',
  'wss://tracker.btorrent.xyz',
];

const MAX_TRACKERS = 16;

/** Options that both sides of a swarm take. */
export interface SwarmOptions {
  /** Token as text, or parsed already. */
  readonly token: string | Token;
  readonly identity: KeyPair;
  readonly name: string;
  /** The `transferEncryptToken`: 32 characters that both sides must share. */
  readonly transferSecret?: string | undefined;
  /** Override those of the token, or the public ones. */
  readonly trackers?: readonly string[] | undefined;
  /** Override those of the token, or the default ones; an empty list disables them. */
  readonly ice?: readonly (string | IceServerInit)[] | undefined;
  readonly platform: Platform;
  /** Returns the verbs that this side serves to a peer. Called for each new link. */
  readonly accept: (peer: PeerFacts) => RpcHandlers;
  readonly clock?: Clock | undefined;
  /** Random numbers in [0, 1) for jitter; keys never come from here. */
  readonly random?: (() => number) | undefined;
  readonly log?: Log | undefined;
  readonly times?: Partial<SwarmTimes> | undefined;
}

export interface SwarmTimes extends TrackerTimes {
  /** From the SDP answer until the link is open. */
  readonly connectMs: number;
  readonly handshakeMs: number;
  /** Lifetime of an offer; after it the router may have dropped the mappings of its addresses, so a new one is made. */
  readonly offerMs: number;
  readonly masterAbsentMs: number;
  readonly quietAfterMs: number;
  /** The first pause after a refusal that is unlikely to change by itself; it doubles after each further one. */
  readonly refusedMs: number;
}

export interface SwarmSettings extends Omit<SwarmOptions, 'token' | 'ice'> {
  readonly token: Token;
  readonly trackers: readonly string[];
  readonly ice: ReturnType<Platform['openIce']>;
  /** `ice-server-unusable`, if a server was left out. */
  readonly iceRefusal: PeerworkError | undefined;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly times: Partial<SwarmTimes>;
}

/** Throws `option-invalid` or the code of the token error. */
export function resolveOptions(options: SwarmOptions): SwarmSettings {
  const token = typeof options.token === 'string' ? parseToken(options.token) : options.token;
  const trackers = chooseTrackers(options.trackers, token.trackers);
  if (options.trackers?.length === 0) throw new PeerworkError('option-invalid', 'the list of trackers is empty: there is nowhere to meet');
  const { servers, refused } = readIceServers(options.ice ?? chooseIce(token, trackers));
  if (options.ice && refused[0] && servers.length === 0) throw new PeerworkError('option-invalid', refused[0].detail);
  checkTransferSecret(options.transferSecret ?? '');
  const clock = options.clock ?? systemClock;
  const log = options.log ?? createLog({ level: 'off', write: () => {} });
  return {
    ...options,
    token,
    trackers,
    ice: options.platform.openIce(servers, { clock, log }),
    iceRefusal: refused.length === 0 ? undefined : new PeerworkError('ice-server-unusable', refused.map(({ detail }) => detail).join('; ')),
    clock,
    random: options.random ?? Math.random,
    log,
    times: options.times ?? {},
  };
}

/** Returns the STUN and TURN servers of a token, possibly none, or else the default ones. */
export function chooseIce(token: Token, trackers: readonly string[]): readonly string[] {
  return token.ice ?? (isLocal(trackers) ? [] : defaultIceServers);
}

/** Peers that meet at a tracker on their own machine need no STUN, which would delay each attempt where there is no internet. */
function isLocal(trackers: readonly string[]): boolean {
  return trackers.every((url) => /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(new URL(url).hostname));
}

/** Returns the first list that is not empty, without duplicates. Throws `option-invalid` for anything that is not a WebSocket URL. */
export function chooseTrackers(...lists: readonly (readonly string[] | undefined)[]): readonly string[] {
  const chosen = lists.find((list) => list && list.length > 0) ?? publicTrackers;
  for (const url of chosen) {
    if (!URL.canParse(url) || !/^wss?:$/.test(new URL(url).protocol))
      throw new PeerworkError('option-invalid', `a tracker is a ws:// or wss:// URL, not ${url.slice(0, 100)}`);
  }
  return [...new Set(chosen)].slice(0, MAX_TRACKERS);
}
