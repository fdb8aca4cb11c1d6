import type { Clock, Timer } from '../../clock.js';
import { PeerworkError } from '../../errors.js';
import { Backoff } from '../../kit/backoff.js';
import { TokenBucket } from '../../kit/token-bucket.js';
import type { OpenSocket } from './socket.js';
import { TrackerClient, type TrackerListener, type TrackerTimes } from './tracker-client.js';
import { TrackerPace } from './tracker-pace.js';
import { binaryText, KNOCK_SDP, newOfferId, roleOfPeerId } from './wire.js';

export interface LobbyOptions {
  readonly trackers: readonly string[];
  /** Info hashes of all shards, 20 bytes each. */
  readonly infoHashes: readonly Uint8Array[];
  readonly openSocket: OpenSocket;
  readonly randomBytes: (count: number) => Uint8Array;
  readonly random: () => number;
  readonly clock: Clock;
  readonly trackerTimes?: Partial<TrackerTimes>;
  /** Offers answered concurrently; the sender of a further one receives a busy sign and announces it again. Default 64. */
  readonly maxPending?: number;
}

export interface LobbyListener {
  offered(visit: Visit): void;
  /** A tracker responded for the first time. */
  reached(): void;
  /** `tracker-unreachable` (all of them) or `tracker-refused`; the lobby stays open. */
  failed(error: PeerworkError): void;
}

/** One worker's offer, in however many copies and through however many trackers it arrived. */
export interface Visit {
  readonly sdp: string;
  /** URL of the tracker through which it arrived first. */
  readonly tracker: string;
  /** Sends the answer to every sender of the offer, including those of later copies. */
  answer(sdp: string): void;
  /** The handshake succeeded: the visit no longer counts as pending, and further copies of its offer are ignored. */
  admit(): void;
  /** The visit is over: the same offer would count as a new one. */
  end(): void;
}

interface Sender {
  readonly client: TrackerClient;
  readonly from: string;
  readonly offerId: string;
}

const PROBE_REST_MS = 2000;
const KNOCKS = 10;
const KNOCK_FIRST_MS = 250;
const KNOCK_CAP_MS = 8000;
/** Workers that have not come by then are reached again at the tracker's interval: some trackers count dead peers for 20 minutes. */
const KNOCKING_MS = 60_000;
/** If an offer is announced again after this long, while its answer is still being made, the sender receives a busy sign. */
const SLOW_MS = 1000;
/** Rate limit of busy signs. */
const BUSY_BURST = 50;
const BUSY_PER_SECOND = 20;
const MAX_PENDING = 64;
/** Rate limit of offers per tracker: answering one costs about 5 ms of a core. */
const OFFERS_BURST = 200;
const OFFERS_PER_SECOND = 50;
const MAX_ANSWERS_PER_VISIT = 40;

/**
 * The Master's side of the star: waits in all shards at all trackers for the offers of workers, and offers nothing itself.
 *
 * When it arrives, and while a tracker reports other members in the shard (workers leave once connected, so these are waiting), it
 * knocks: it announces empty offers, upon which workers announce theirs at once. It does so for a minute after the number of members has
 * changed, and otherwise at the tracker's interval.
 */
export class Lobby implements TrackerListener {
  readonly #options: LobbyOptions;
  readonly #listener: LobbyListener;
  readonly #clients: readonly TrackerClient[];
  readonly #rooms = new Map<TrackerClient, { readonly backoff: Backoff; members: number; changedAt: number; timer: Timer | undefined }>();
  readonly #errors = new Map<TrackerClient, PeerworkError>();
  /** Visits by the text of their offer, so that a forged variation of an offer cannot block the real one. */
  readonly #visits = new Map<string, Visit & { copy(sender: Sender): void }>();
  readonly #pending = new Map<string, number>();
  readonly #rates: ReadonlyMap<string, TokenBucket>;
  readonly #busySigns: TokenBucket;
  #probedAt = 0;
  #reached = false;
  #closed = false;

  constructor(options: LobbyOptions, listener: LobbyListener) {
    this.#options = options;
    this.#listener = listener;
    const { openSocket, randomBytes, random, clock, trackerTimes } = options;
    this.#rates = new Map(
      options.trackers.map((url) => [url, new TokenBucket({ burst: OFFERS_BURST, perSecond: OFFERS_PER_SECOND }, clock.now())]),
    );
    const times = trackerTimes ? { times: trackerTimes } : {};
    this.#busySigns = new TokenBucket({ burst: BUSY_BURST, perSecond: BUSY_PER_SECOND }, clock.now());
    const pace = new TrackerPace(clock);
    this.#clients = options.trackers.flatMap((url) =>
      options.infoHashes.map((hash) => {
        const infoHash = binaryText(hash);
        const client = new TrackerClient({ url, infoHash, role: 'master', openSocket, randomBytes, random, clock, pace, ...times }, this);
        this.#rooms.set(client, {
          backoff: new Backoff({ firstMs: KNOCK_FIRST_MS, capMs: KNOCK_CAP_MS, random }),
          members: 0,
          changedAt: 0,
          timer: undefined,
        });
        return client;
      }),
    );
  }

  start(): void {
    for (const client of this.#clients) client.start();
  }

  /**
   * Called when a peer fell silent, because our own network may be down: announces on all sockets, so that a dead one is detected within
   * seconds instead of at the next announce.
   */
  probe(): void {
    const now = this.#options.clock.now();
    if (now - this.#probedAt < PROBE_REST_MS) return;
    this.#probedAt = now;
    for (const client of this.#clients) if (client.isOpen) this.#announce(client);
  }

  /** Leaves all swarms. Visits handed out before continue. */
  close(): void {
    this.#closed = true;
    for (const { timer } of this.#rooms.values()) timer?.cancel();
    for (const client of this.#clients) client.close();
  }

  opened(client: TrackerClient): void {
    const room = this.#rooms.get(client);
    if (!room) return;
    room.backoff.reset();
    room.members = KNOCKS + 1;
    this.#announce(client);
  }

  announced(client: TrackerClient, members: number): void {
    const room = this.#rooms.get(client);
    if (!room || this.#closed) return;
    this.#errors.delete(client);
    const { clock } = this.#options;
    if (members !== room.members) {
      room.backoff.reset();
      room.changedAt = clock.now();
    }
    room.members = members;
    room.timer?.cancel();
    if (members > 1 && clock.now() - room.changedAt < KNOCKING_MS)
      room.timer = clock.after(room.backoff.nextMs(), () => this.#announce(client));
    if (this.#reached) return;
    this.#reached = true;
    this.#listener.reached();
  }

  due(client: TrackerClient): void {
    this.#announce(client);
  }

  offered(client: TrackerClient, offer: { readonly from: string; readonly offerId: string; readonly sdp: string }): void {
    if (this.#closed || roleOfPeerId(offer.from) !== 'worker') return;
    const sender = { client, from: offer.from, offerId: offer.offerId };
    const known = this.#visits.get(offer.sdp);
    known?.copy(sender);
    if (known || !isPlausible(offer.sdp)) return;
    // Each tracker gets its share of the pending visits and of the work, so that a hostile one cannot take them all.
    const { maxPending = MAX_PENDING, trackers } = this.#options;
    const share = Math.max(1, Math.ceil(maxPending / trackers.length));
    if (this.#pendingAt(client.url) >= share || !this.#rates.get(client.url)?.take(1, this.#options.clock.now())) {
      this.#signalBusy(sender);
      return;
    }
    const visit = this.#receive(offer.sdp, sender);
    this.#listener.offered(visit);
  }

  answered(): void {
    // The Master's own offers are knocks, which nobody answers.
  }

  failed(client: TrackerClient, error: PeerworkError): void {
    this.#rooms.get(client)?.timer?.cancel();
    this.#errors.set(client, error);
    if (this.#errors.size < this.#clients.length) return;
    const byUrl = new Map([...this.#errors.values()].map((each) => [each.detail, each]));
    const refusal = [...byUrl.values()].find(({ code }) => code === 'tracker-refused');
    this.#listener.failed(refusal ?? new PeerworkError('tracker-unreachable', [...byUrl.keys()].join('; ')));
  }

  #announce(client: TrackerClient): void {
    const { randomBytes } = this.#options;
    const knocks = Math.min(KNOCKS, (this.#rooms.get(client)?.members ?? 1) - 1);
    client.announce(Array.from({ length: Math.max(0, knocks) }, () => ({ offerId: newOfferId(randomBytes), sdp: KNOCK_SDP })));
  }

  #receive(sdp: string, first: Sender): Visit {
    const { clock } = this.#options;
    const arrivedAt = clock.now();
    const signalBusy = (sender: Sender) => this.#signalBusy(sender);
    const tracker = first.client.url;
    const senders: Sender[] = [first];
    let answered: string | undefined;
    let sent = 0;
    let isPending = true;
    this.#pending.set(tracker, this.#pendingAt(tracker) + 1);
    const settle = () => {
      if (isPending) this.#pending.set(tracker, this.#pendingAt(tracker) - 1);
      isPending = false;
    };
    const reply = (answer: string, { client, from, offerId }: Sender) => {
      if (sent++ < MAX_ANSWERS_PER_VISIT) client.answer(from, offerId, answer);
    };
    const visit = {
      sdp,
      tracker,
      copy(sender: Sender) {
        if (!isPending) return;
        if (answered !== undefined) {
          reply(answered, sender);
          return;
        }
        if (senders.length < MAX_ANSWERS_PER_VISIT) senders.push(sender);
        if (clock.now() - arrivedAt >= SLOW_MS) signalBusy(sender);
      },
      answer(answer: string) {
        answered = answer;
        for (const sender of senders.splice(0)) reply(answer, sender);
      },
      admit: settle,
      end: () => {
        settle();
        if (this.#visits.get(sdp) === visit) this.#visits.delete(sdp);
      },
    };
    this.#visits.set(sdp, visit);
    return visit;
  }

  #signalBusy({ client, from, offerId }: Sender): void {
    if (this.#busySigns.take(1, this.#options.clock.now())) client.answer(from, offerId, KNOCK_SDP);
  }

  #pendingAt(url: string): number {
    return this.#pending.get(url) ?? 0;
  }
}

/** Cheap check that rejects junk before a PeerConnection is made for it. */
function isPlausible(sdp: string): boolean {
  return sdp.startsWith('v=0') && sdp.includes('a=ice-ufrag:') && sdp.includes('a=fingerprint:');
}
