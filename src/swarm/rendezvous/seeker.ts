import { type Clock, pause, type Timer } from '../../clock.js';
import { PeerworkError } from '../../errors.js';
import { Backoff } from '../../kit/backoff.js';
import { Deadline } from '../../kit/deadline.js';
import type { OpenSocket } from './socket.js';
import { TrackerClient, type TrackerListener, type TrackerTimes } from './tracker-client.js';
import { TrackerPace } from './tracker-pace.js';
import { binaryText, KNOCK_SDP, MAX_TRACKER_MESSAGE_BYTES, newOfferId, type OfferCopy, roleOfPeerId } from './wire.js';

export interface SeekerOptions {
  readonly trackers: readonly string[];
  /** Info hash of the one shard that this worker waits in, 20 bytes. */
  readonly infoHash: Uint8Array;
  readonly openSocket: OpenSocket;
  readonly randomBytes: (count: number) => Uint8Array;
  readonly random: () => number;
  readonly clock: Clock;
  readonly trackerTimes?: Partial<TrackerTimes>;
  /** Pauses that trackers requested before this search. */
  readonly pace?: TrackerPace;
  /** How long trackers may respond without an answer from a Master before a warning is emitted. Default 5 s. */
  readonly masterAbsentMs?: number;
  /** After this long the Master counts as absent, and the worker waits for its knock. Default 60 s. */
  readonly quietAfterMs?: number;
  /** Trackers whose last answer led nowhere: answers of others are preferred. Read again for each answer. */
  readonly distrusted?: ReadonlySet<string>;
  /** Called with `tracker-unreachable` (all of them), `tracker-refused`, `master-absent` or `master-busy`; the search goes on. */
  readonly failed: (error: PeerworkError) => void;
}

export interface Answer {
  readonly sdp: string;
  /** URL of the tracker through which it arrived. */
  readonly tracker: string;
}

/**
 * A tracker passes each offer to a random other member, and a shard also holds other waiting workers: ten copies nearly always reach the
 * Master. Public trackers accept no more than ten.
 */
const OFFER_COPIES = 10;
const ANNOUNCE_FIRST_MS = 500;
const ANNOUNCE_CAP_MS = 8000;
const MASTER_ABSENT_MS = 5000;
/** Other members of the shard may be the Master, which will have knocked after this many times `masterAbsentMs`. */
const UNSURE_FACTOR = 6;
/** A Master that does not answer offers counts as busy for this long after its last sign. */
const SIGN_MS = 60_000;
const QUIET_AFTER_MS = 60_000;
/** An absent Master is shown a new offer this often, in case its knock was lost. */
const QUIET_OFFER_MS = 300_000;
/** Back-off of the replies to knocks: the first is replied to at once, a stream of them is not. */
const KNOCK_REST_FIRST_MS = 200;
const KNOCK_REST_CAP_MS = 8000;
/** How long knocks are ignored after an offer that a knock had triggered and nobody answered: doubles from this to QUIET_OFFER_MS. */
const KNOCK_IGNORE_FIRST_MS = 4000;
const DISTRUSTED_DELAY_MS = 1500;

/**
 * The worker's side of the star: announces one offer, in several copies, to the members of its shard at all trackers, again and again
 * (0.5 s, doubling to 8 s), until the Master answers it. All trackers get the same copies, so that the first answer settles it. Offers of
 * other workers are ignored; an offer of a Master is a knock and only means "I am here": the worker announces its own offer again at
 * once.
 *
 * After a minute the Master counts as absent. The worker then keeps its place in the shard with one announce per interval of each
 * tracker, some 400 bytes, and makes an offer only every five minutes, until a knock signals that the Master is back (`untilWorthwhile`).
 */
export class Seeker implements TrackerListener {
  readonly #options: SeekerOptions;
  readonly #clients: readonly TrackerClient[];
  readonly #backoff: Backoff;
  readonly #errors = new Map<TrackerClient, PeerworkError>();
  readonly #announcedAt = new Map<TrackerClient, number>();
  readonly #members = new Map<TrackerClient, number>();
  readonly #knockBackoff: Backoff;
  readonly #knockIgnore: Backoff;
  readonly #startedAt: number;
  /** Time of the Master's last sign: a knock or a busy sign. */
  #signAt = Number.NEGATIVE_INFINITY;
  #knockRestMs = 0;
  #wasKnocked = false;
  #onKnock: () => void = () => {};
  #copies: readonly OfferCopy[] = [];
  #timer: Timer | undefined;
  #absence: Timer | undefined;
  #heldAnswer: Timer | undefined;
  #reached = false;
  #settle: (answer: Answer | undefined) => void = () => {};
  #closed = false;

  constructor(options: SeekerOptions) {
    this.#options = options;
    this.#backoff = new Backoff({ firstMs: ANNOUNCE_FIRST_MS, capMs: ANNOUNCE_CAP_MS, random: options.random });
    const infoHash = binaryText(options.infoHash);
    const { openSocket, randomBytes, random, clock, trackerTimes, pace = new TrackerPace(clock) } = options;
    this.#startedAt = clock.now();
    this.#knockBackoff = new Backoff({ firstMs: KNOCK_REST_FIRST_MS, capMs: KNOCK_REST_CAP_MS, random });
    this.#knockIgnore = new Backoff({ firstMs: KNOCK_IGNORE_FIRST_MS, capMs: QUIET_OFFER_MS, random });
    this.#clients = options.trackers.map(
      (url) =>
        new TrackerClient(
          { url, infoHash, role: 'worker', openSocket, randomBytes, random, clock, pace, ...(trackerTimes ? { times: trackerTimes } : {}) },
          this,
        ),
    );
  }

  /** Opens the sockets; the offer may follow later. */
  start(): void {
    for (const client of this.#clients) client.start();
  }

  /** Resolves when making an offer is worthwhile: at once, or, while the Master is absent, at its knock or after five minutes. */
  async untilWorthwhile(signal: AbortSignal): Promise<void> {
    if (!this.#isQuiet) return;
    const { clock, random } = this.#options;
    const wasKnocked = this.#wasKnocked;
    this.#wasKnocked = false;
    const ignoreMs = wasKnocked ? this.#knockIgnore.nextMs() : 0;
    await pause(clock, ignoreMs, signal);
    const knocked = new Deadline({ signals: [signal] });
    this.#onKnock = () => {
      this.#wasKnocked = true;
      knocked.abort();
    };
    await pause(clock, Math.max(0, QUIET_OFFER_MS * (0.75 + random() / 2) - ignoreMs), knocked.signal);
    this.#onKnock = () => {};
    knocked.end();
  }

  get #isQuiet(): boolean {
    const { clock, quietAfterMs = QUIET_AFTER_MS } = this.#options;
    return clock.now() - this.#startedAt >= quietAfterMs;
  }

  /**
   * Announces this offer, replacing an earlier one, until it is answered. Resolves with the first answer, or with undefined if the offer
   * is withdrawn or replaced, or the seeker closed.
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
    this.#watchForMaster();
    return answered;
  }

  withdraw(): void {
    this.#endOffer(undefined);
  }

  close(): void {
    this.#closed = true;
    this.withdraw();
    for (const client of this.#clients) client.close();
  }

  opened(client: TrackerClient): void {
    if (this.#copies.length > 0 || this.#isQuiet) this.#announce(client);
  }

  announced(client: TrackerClient, members: number): void {
    this.#errors.delete(client);
    this.#members.set(client, members);
    this.#reached = true;
  }

  due(client: TrackerClient): void {
    this.#announce(client);
  }

  offered(client: TrackerClient, offer: { readonly from: string }): void {
    if (roleOfPeerId(offer.from) !== 'master') return;
    const { clock } = this.#options;
    this.#signAt = clock.now();
    this.#onKnock();
    const restedMs = clock.now() - (this.#announcedAt.get(client) ?? 0);
    if (this.#copies.length === 0 || restedMs < this.#knockRestMs) return;
    this.#knockRestMs = this.#knockBackoff.nextMs();
    this.#wasKnocked = true;
    this.#announce(client);
  }

  answered(client: TrackerClient, { offerId, sdp }: { readonly offerId: string; readonly sdp: string }): void {
    if (!this.#copies.some((copy) => copy.offerId === offerId)) return;
    if (sdp === KNOCK_SDP) {
      this.#signAt = this.#options.clock.now();
      return;
    }
    const answer = { sdp, tracker: client.url };
    const { distrusted, clock } = this.#options;
    if (distrusted?.has(client.url) && this.#clients.some(({ url, isOpen }) => isOpen && !distrusted.has(url))) {
      this.#heldAnswer ??= clock.after(DISTRUSTED_DELAY_MS, () => this.#endOffer(answer));
      return;
    }
    this.#endOffer(answer);
  }

  failed(client: TrackerClient, error: PeerworkError): void {
    this.#errors.set(client, error);
    if (this.#errors.size < this.#clients.length) return;
    this.#reached = false;
    const errors = [...this.#errors.values()];
    const refusal = errors.find(({ code }) => code === 'tracker-refused');
    this.#options.failed(refusal ?? new PeerworkError('tracker-unreachable', errors.map(({ detail }) => detail).join('; ')));
  }

  #endOffer(answer: Answer | undefined): void {
    if (answer) this.#backoff.reset();
    this.#copies = [];
    for (const timer of [this.#timer, this.#absence, this.#heldAnswer]) timer?.cancel();
    this.#heldAnswer = undefined;
    this.#settle(answer);
  }

  #announce(client: TrackerClient): void {
    this.#announcedAt.set(client, this.#options.clock.now());
    client.announce(this.#isQuiet && !this.#wasKnocked ? this.#copies.slice(0, 1) : this.#copies);
  }

  #announceAll(): void {
    this.#timer?.cancel();
    for (const client of this.#clients) if (client.isOpen) this.#announce(client);
    if (this.#isQuiet && !this.#wasKnocked) return;
    this.#timer = this.#options.clock.after(this.#backoff.nextMs(), () => this.#announceAll());
  }

  #watchForMaster(): void {
    const { clock, masterAbsentMs = MASTER_ABSENT_MS } = this.#options;
    this.#absence = clock.after(masterAbsentMs, () => {
      const now = clock.now();
      const isAlone = [...this.#members.values()].every((members) => members <= 1);
      if (this.#reached && now - this.#signAt < SIGN_MS) this.#options.failed(new PeerworkError('master-busy'));
      else if (this.#reached && (isAlone || now - this.#startedAt >= masterAbsentMs * UNSURE_FACTOR))
        this.#options.failed(new PeerworkError('master-absent'));
      this.#watchForMaster();
    });
  }
}
