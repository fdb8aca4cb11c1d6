import type { Clock, Timer } from '../../clock.js';
import { PeerworkError } from '../../errors.js';
import { Backoff } from './backoff.js';
import type { OpenSocket } from './socket.js';
import { TrackerClient, type TrackerListener, type TrackerTimes } from './tracker-client.js';
import { binaryText, MAX_TRACKER_MESSAGE_BYTES, newOfferId, type OfferCopy, roleOfPeerId } from './wire.js';

export interface SeekerOptions {
  readonly trackers: readonly string[];
  /** The one shard that this worker waits in, 20 bytes. */
  readonly infoHash: Uint8Array;
  readonly openSocket: OpenSocket;
  readonly randomBytes: (count: number) => Uint8Array;
  readonly random: () => number;
  readonly clock: Clock;
  readonly trackerTimes?: Partial<TrackerTimes>;
  /** How long the trackers may answer without a Master doing so before that is called trouble. */
  readonly masterAbsentMs?: number;
  /** Trackers whose last answer came to nothing: the answers of others are preferred. Asked anew for each answer. */
  readonly distrusted?: ReadonlySet<string>;
  /** `tracker-unreachable` (all of them), `tracker-refused` or `master-absent`; seeking goes on. */
  readonly failed: (error: PeerworkError) => void;
}

export interface Answer {
  readonly sdp: string;
  /** The URL it came through. */
  readonly tracker: string;
}

/**
 * A tracker gives each offer to another random member, and a shard holds other waiting workers too: ten copies reach the
 * Master nearly always. Public trackers take no more than ten.
 */
const OFFER_COPIES = 10;
const ANNOUNCE_FIRST_MS = 500;
const ANNOUNCE_CAP_MS = 8000;
const MASTER_ABSENT_MS = 5000;
/** A Master that knocks is answered at once, but one that knocks all the time not all the time. */
const KNOCK_REST_MS = 200;
const DISTRUSTED_DELAY_MS = 1500;

/**
 * The worker's side of the star: shows one offer, in several copies, to whoever is in its shard at any of the trackers, again
 * and again (0.5 s, doubling to 8 s), until the Master answers it. The same copies go to all trackers, so that the first answer
 * settles it. Offers of other workers are ignored; an offer of a Master is a knock and only means "I am here": the
 * worker's own offer is announced again at once.
 */
export class Seeker implements TrackerListener {
  readonly #options: SeekerOptions;
  readonly #clients: readonly TrackerClient[];
  readonly #backoff: Backoff;
  readonly #errors = new Map<TrackerClient, PeerworkError>();
  readonly #announcedAt = new Map<TrackerClient, number>();
  #copies: readonly OfferCopy[] = [];
  #timer: Timer | undefined;
  #absence: Timer | undefined;
  #held: Timer | undefined;
  #reached = false;
  #settle: (answer: Answer | undefined) => void = () => {};
  #closed = false;

  constructor(options: SeekerOptions) {
    this.#options = options;
    this.#backoff = new Backoff(ANNOUNCE_FIRST_MS, ANNOUNCE_CAP_MS, options.random);
    const infoHash = binaryText(options.infoHash);
    const { openSocket, randomBytes, random, clock, trackerTimes } = options;
    this.#clients = options.trackers.map(
      (url) =>
        new TrackerClient(
          { url, infoHash, role: 'worker', openSocket, randomBytes, random, clock, ...(trackerTimes ? { times: trackerTimes } : {}) },
          this,
        ),
    );
  }

  /** Opens the sockets; the offer may follow later. */
  start(): void {
    for (const client of this.#clients) client.start();
  }

  /**
   * Shows this offer, in place of an earlier one, until it is answered. Resolves with the first answer, or with undefined
   * when it is withdrawn, replaced by another or the seeker closed.
   */
  offer(sdp: string): Promise<Answer | undefined> {
    this.withdraw();
    if (this.#closed) return Promise.resolve(undefined);
    const fitting = Math.floor((MAX_TRACKER_MESSAGE_BYTES * 0.9) / (JSON.stringify(sdp).length + 100));
    const copies = Math.max(1, Math.min(OFFER_COPIES, fitting));
    this.#copies = Array.from({ length: copies }, () => ({ offerId: newOfferId(this.#options.randomBytes), sdp }));
    const answered = new Promise<Answer | undefined>((resolve) => {
      this.#settle = resolve;
    });
    this.#announceAll();
    this.#awaitMaster();
    return answered;
  }

  withdraw(): void {
    this.#take(undefined);
  }

  close(): void {
    this.#closed = true;
    this.withdraw();
    for (const client of this.#clients) client.close();
  }

  opened(client: TrackerClient): void {
    if (this.#copies.length > 0) this.#announce(client);
  }

  announced(client: TrackerClient): void {
    this.#errors.delete(client);
    this.#reached = true;
  }

  offered(client: TrackerClient, offer: { readonly from: string }): void {
    if (this.#copies.length === 0 || roleOfPeerId(offer.from) !== 'master') return;
    const restedMs = this.#options.clock.now() - (this.#announcedAt.get(client) ?? 0);
    if (restedMs < KNOCK_REST_MS) return;
    this.#announce(client);
  }

  answered(client: TrackerClient, { offerId, sdp }: { readonly offerId: string; readonly sdp: string }): void {
    if (!this.#copies.some((copy) => copy.offerId === offerId)) return;
    const answer = { sdp, tracker: client.url };
    const { distrusted, clock } = this.#options;
    if (distrusted?.has(client.url) && this.#clients.some(({ url, isOpen }) => isOpen && !distrusted.has(url))) {
      this.#held ??= clock.after(DISTRUSTED_DELAY_MS, () => this.#take(answer));
      return;
    }
    this.#take(answer);
  }

  failed(client: TrackerClient, error: PeerworkError): void {
    this.#errors.set(client, error);
    if (this.#errors.size < this.#clients.length) return;
    this.#reached = false;
    const errors = [...this.#errors.values()];
    const refusal = errors.find(({ code }) => code === 'tracker-refused');
    this.#options.failed(refusal ?? new PeerworkError('tracker-unreachable', errors.map(({ detail }) => detail).join('; ')));
  }

  #take(answer: Answer | undefined): void {
    if (answer) this.#backoff.reset();
    this.#copies = [];
    for (const timer of [this.#timer, this.#absence, this.#held]) timer?.cancel();
    this.#held = undefined;
    this.#settle(answer);
  }

  #announce(client: TrackerClient): void {
    this.#announcedAt.set(client, this.#options.clock.now());
    client.announce(this.#copies);
  }

  #announceAll(): void {
    this.#timer?.cancel();
    for (const client of this.#clients) if (client.isOpen) this.#announce(client);
    this.#timer = this.#options.clock.after(this.#backoff.nextMs(), () => this.#announceAll());
  }

  #awaitMaster(): void {
    this.#absence = this.#options.clock.after(this.#options.masterAbsentMs ?? MASTER_ABSENT_MS, () => {
      if (this.#reached) this.#options.failed(new PeerworkError('master-absent'));
      this.#awaitMaster();
    });
  }
}
