import type { Clock, Timer } from '../../clock.js';
import { PeerworkError } from '../../errors.js';
import { Backoff } from '../../kit/backoff.js';
import { TokenBucket } from '../../kit/token-bucket.js';
import type { Role } from '../peer.js';
import type { OpenSocket, SocketEnd, TextSocket } from './socket.js';
import { presenceMs, type TrackerPace } from './tracker-pace.js';
import { announceText, answerText, MAX_TRACKER_MESSAGE_BYTES, newPeerId, type OfferCopy, readTrackerMessage } from './wire.js';

export interface TrackerTimes {
  /** A socket that is not open by then is given up. */
  readonly openMs: number;
  /** An announce without a response by then means a dead socket: TCP would notice only after minutes. */
  readonly answerMs: number;
  /** Delay before the next socket: doubles from `retryFirstMs` to `retryCapMs`. */
  readonly retryFirstMs: number;
  readonly retryCapMs: number;
  /** Cap if there is a tracker that refuses or that closes what it had opened: each such attempt costs a whole connection. */
  readonly refusedCapMs: number;
}

const defaultTrackerTimes: TrackerTimes = {
  openMs: 5000,
  answerMs: 3000,
  retryFirstMs: 500,
  retryCapMs: 5000,
  refusedCapMs: 300_000,
};
/** A socket that lived this long was not refused. */
const STABLE_MS = 60_000;

export interface TrackerClientOptions {
  readonly url: string;
  /** As the 20-character string of the protocol. */
  readonly infoHash: string;
  readonly role: Role;
  readonly openSocket: OpenSocket;
  readonly randomBytes: (count: number) => Uint8Array;
  readonly random: () => number;
  readonly clock: Clock;
  readonly pace: TrackerPace;
  readonly times?: Partial<TrackerTimes>;
}

export interface TrackerListener {
  /** The socket is open: time to announce. */
  opened(client: TrackerClient): void;
  /** The tracker responded; `members` counts every peer in the swarm, ourselves included, as far as the tracker reports it. */
  announced(client: TrackerClient, members: number): void;
  /** The tracker's interval has passed since the last announce; without another one it forgets us. */
  due(client: TrackerClient): void;
  offered(client: TrackerClient, offer: { readonly from: string; readonly offerId: string; readonly sdp: string }): void;
  answered(client: TrackerClient, answer: { readonly from: string; readonly offerId: string; readonly sdp: string }): void;
  /** `tracker-unreachable` or `tracker-refused`; a new socket is opened after a pause. */
  failed(client: TrackerClient, error: PeerworkError): void;
}

/** More than any honest tracker relays; the excess is not even parsed. */
const MAX_MESSAGES_BURST = 2000;
const MAX_MESSAGES_PER_SECOND = 500;

/**
 * Membership in one swarm at one tracker, over a socket and with a peer id of its own: some trackers keep a peer id in one swarm only,
 * others attribute a reused peer id to the dead socket it was used on before.
 *
 * waiting → opening → open, and from any state back to waiting if the socket closes, does not open, gets no response to an announce, or
 * the tracker refuses. Each socket gets a new peer id. `close` is final.
 *
 * A tracker specifies how often a peer should announce (`interval`) and when a refused one may return (Retry-After of HTTP, `retry in` of
 * BEP 31): both are obeyed. An unreachable tracker is retried every 5 s, which costs one packet; one that refuses, with a back-off of up
 * to five minutes.
 */
export class TrackerClient {
  readonly url: string;
  readonly #options: TrackerClientOptions;
  readonly #listener: TrackerListener;
  readonly #times: TrackerTimes;
  readonly #backoff: Backoff;
  readonly #refusedBackoff: Backoff;
  readonly #messages: TokenBucket;
  #peerId = '';
  #socket: TextSocket | undefined;
  /** A new object for each socket, so that late events of an old socket are recognized. */
  #session: object | undefined;
  #open = false;
  #openedAt = 0;
  #presence: Timer | undefined;
  #announcedBefore = false;
  #watchdog: Timer | undefined;
  #retry: Timer | undefined;
  #closed = false;

  constructor(options: TrackerClientOptions, listener: TrackerListener) {
    this.url = options.url;
    this.#options = options;
    this.#listener = listener;
    this.#times = { ...defaultTrackerTimes, ...options.times };
    const { retryFirstMs, retryCapMs, refusedCapMs } = this.#times;
    this.#backoff = new Backoff({ firstMs: retryFirstMs, capMs: retryCapMs, random: options.random });
    this.#refusedBackoff = new Backoff({ firstMs: retryFirstMs, capMs: refusedCapMs, random: options.random });
    this.#messages = new TokenBucket({ burst: MAX_MESSAGES_BURST, perSecond: MAX_MESSAGES_PER_SECOND }, options.clock.now());
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** Opens a socket now, unless one is open or opening, or the tracker requested a pause. */
  start(): void {
    if (this.#closed || this.#session) return;
    this.#retry?.cancel();
    const restMs = this.#options.pace.restMs(this.url);
    if (restMs > 0) this.#fail('tracker-refused', `it asked to be left alone for ${Math.ceil(restMs / 1_000)} s`);
    else this.#connect();
  }

  /** No-op unless open. An empty list only keeps our membership alive. */
  announce(offers: readonly OfferCopy[]): void {
    if (!this.#open) return;
    this.#socket?.send(announceText(this.#options.infoHash, this.#peerId, offers, this.#announcedBefore ? '' : 'started'));
    this.#announcedBefore = true;
    if (!this.#watchdog) this.#watch(this.#times.answerMs, 'an announce got no response');
  }

  /** No-op unless open. */
  answer(to: string, offerId: string, sdp: string): void {
    if (this.#open) this.#socket?.send(answerText(this.#options.infoHash, this.#peerId, to, offerId, sdp));
  }

  /** Leaves the swarm. */
  close(): void {
    this.#closed = true;
    this.#retry?.cancel();
    if (this.#open) this.#socket?.send(announceText(this.#options.infoHash, this.#peerId, [], 'stopped'));
    this.#drop();
  }

  #connect(): void {
    const { role, randomBytes, openSocket } = this.#options;
    const session = {};
    this.#session = session;
    this.#peerId = newPeerId(role, randomBytes);
    this.#announcedBefore = false;
    this.#watch(this.#times.openMs, 'the connection did not open in time');
    const isCurrent = () => this.#session === session;
    try {
      this.#socket = openSocket(
        this.url,
        {
          opened: () => {
            if (!isCurrent()) return;
            this.#open = true;
            this.#openedAt = this.#options.clock.now();
            this.#unwatch();
            this.#listener.opened(this);
          },
          message: (text) => {
            if (isCurrent()) this.#receive(text);
          },
          closed: (reason, end) => {
            if (isCurrent()) this.#fail(end?.refused ? 'tracker-refused' : 'tracker-unreachable', reason, end);
          },
        },
        { maxMessageBytes: MAX_TRACKER_MESSAGE_BYTES },
      );
    } catch (thrown) {
      this.#fail('tracker-unreachable', thrown instanceof Error ? thrown.message : String(thrown));
    }
  }

  #receive(text: string): void {
    if (!this.#messages.take(1, this.#options.clock.now())) return;
    const message = readTrackerMessage(text, this.#options.infoHash);
    if (!message) return;
    if (message.kind === 'offer') this.#listener.offered(this, message);
    else if (message.kind === 'answer') this.#listener.answered(this, message);
    else if (message.kind === 'refused') {
      const { reason, retryAfterMs } = message;
      this.#fail('tracker-refused', reason, retryAfterMs === undefined ? {} : { retryAfterMs });
    } else {
      this.#unwatch();
      this.#backoff.reset();
      this.#presence?.cancel();
      this.#presence = this.#options.clock.after(presenceMs(message.intervalMs), () => this.#listener.due(this));
      this.#listener.announced(this, message.members);
    }
  }

  #fail(code: 'tracker-unreachable' | 'tracker-refused', reason: string, { retryAfterMs }: SocketEnd = {}): void {
    const { clock, pace } = this.#options;
    const wasThere = this.#open || code === 'tracker-refused';
    if (this.#open && clock.now() - this.#openedAt >= STABLE_MS) this.#refusedBackoff.reset();
    this.#drop();
    if (retryAfterMs !== undefined) pace.hold(this.url, retryAfterMs);
    const backoffMs = (wasThere ? this.#refusedBackoff : this.#backoff).nextMs();
    const restMs = pace.restMs(this.url);
    this.#retry = clock.after(restMs > 0 ? restMs + backoffMs : backoffMs, () => this.start());
    this.#listener.failed(this, new PeerworkError(code, `${this.url}: ${reason}`));
  }

  #drop(): void {
    this.#unwatch();
    this.#presence?.cancel();
    this.#session = undefined;
    this.#open = false;
    this.#socket?.close();
    this.#socket = undefined;
  }

  #watch(delayMs: number, reason: string): void {
    this.#watchdog?.cancel();
    this.#watchdog = this.#options.clock.after(delayMs, () => this.#fail('tracker-unreachable', reason));
  }

  #unwatch(): void {
    this.#watchdog?.cancel();
    this.#watchdog = undefined;
  }
}
