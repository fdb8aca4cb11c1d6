import { type Clock, systemClock } from '../../clock.js';
import { asPeerworkError } from '../../errors.js';
import type { Link } from '../link.js';
import { Attempt } from './attempt.js';
import type { WebRtcEngine } from './engine.js';
import type { IceAccess } from './ice.js';
import { asDtlsClient, candidatesOf, checkSdp } from './sdp.js';

export interface DialOptions {
  readonly clock?: Clock;
  /** Limit from the moment both descriptions are known here until the link is open; default 8 s. */
  readonly connectTimeoutMs?: number;
}

/** An offer that waits for its answer, for as long as its creator likes. The same `sdp` may be given to any number of peers. */
export interface OutgoingAttempt {
  readonly sdp: string;
  /**
   * Accepts the first valid answer and returns true, false for any later one; throws `signal-malformed` for an invalid one and keeps
   * waiting.
   */
  accept(answerSdp: unknown): boolean;
  /** Rejects with `ice-failed`, `dtls-failed`, `link-timeout`, `signal-malformed`, or `link-closed` after `cancel`. */
  readonly opened: Promise<Link>;
  /** Gives up; no-op once the link is open. */
  cancel(): void;
}

export interface IncomingAttempt {
  /** The SDP to send back. Rejects as `opened` does. */
  readonly answer: Promise<string>;
  readonly opened: Promise<Link>;
  cancel(): void;
}

const defaultConnectTimeoutMs = 8000;

export async function createOffer(engine: WebRtcEngine, ice: IceAccess, options: DialOptions = {}): Promise<OutgoingAttempt> {
  const attempt = new Attempt(engine, await ice.servers(), { initiator: true, ...settings(options) });
  const sdp = await attempt.localSdp;
  let answered = false;
  return {
    sdp,
    opened: attempt.opened,
    cancel: () => attempt.cancel(),
    accept: (answerSdp) => {
      if (answered) return false;
      attempt.setRemote('answer', checkSdp(answerSdp));
      answered = true;
      return true;
    },
  };
}

/**
 * Answers an offer. As far as the answerer can choose, the side that brings a relay becomes the DTLS client: HelloGate explains why a
 * DTLS server behind its own relay is at risk. What remains is a server whose UDP is blocked, and there everything passes the gate.
 */
export function answerOffer(engine: WebRtcEngine, ice: IceAccess, offerSdp: unknown, options: DialOptions = {}): IncomingAttempt {
  let cancelled = false;
  const begun = (async () => {
    const sdp = checkSdp(offerSdp);
    const peerRelays = candidatesOf(sdp).some(({ kind }) => kind === 'relay');
    const attempt = new Attempt(engine, await ice.servers({ peerRelays }), { initiator: false, ...settings(options) });
    if (cancelled) attempt.cancel();
    else attempt.setRemote('offer', peerRelays ? asDtlsClient(sdp) : sdp);
    return attempt;
  })();
  const orRefused = <T>(pick: (attempt: Attempt) => Promise<T>) => {
    const promise = begun.then(pick, (error: unknown) => Promise.reject(asPeerworkError(error)));
    promise.catch(() => {}); // A caller that cancels need not handle the rejection.
    return promise;
  };
  return {
    answer: orRefused((attempt) => attempt.localSdp),
    opened: orRefused((attempt) => attempt.opened),
    cancel: () => {
      cancelled = true;
      begun.then(
        (attempt) => attempt.cancel(),
        () => {},
      );
    },
  };
}

function settings(options: DialOptions): { clock: Clock; connectTimeoutMs: number } {
  return { clock: options.clock ?? systemClock, connectTimeoutMs: options.connectTimeoutMs ?? defaultConnectTimeoutMs };
}
