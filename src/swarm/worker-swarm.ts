import { pause } from '../clock.js';
import { asPeerworkError, type ErrorCode, PeerworkError } from '../errors.js';
import { Backoff } from '../kit/backoff.js';
import { Emitter, WarningFilter } from './events.js';
import { createOffer } from './link/dial.js';
import type { Peer } from './peer.js';
import { Seeker } from './rendezvous/seeker.js';
import { TrackerPace } from './rendezvous/tracker-pace.js';
import { openSession, type Session } from './session.js';
import { type SwarmOptions, type SwarmSettings, settleOptions } from './swarm-settings.js';
import { rendezvousHashes } from './token.js';

export type WorkerSwarmEvents = {
  connected: [peer: Peer];
  /** `error` says why the link ended. */
  disconnected: [peer: Peer, error: Error];
  /**
   * A step failed, and is tried again: `tracker-unreachable`, `tracker-refused`, `master-absent`, `master-busy`, `ice-failed`, `dtls-failed`, `link-timeout`,
   * or why the handshake was refused. The same warning is told at most every 30 s.
   */
  warning: [error: PeerworkError];
};

const OFFER_MS = 40_000;
const REFUSED_FIRST_MS = 8000;
const REFUSED_CAP_MS = 300_000;
const RETRIES_AT_ONCE = 3;
const RETRY_FIRST_MS = 500;
const RETRY_CAP_MS = 60_000;
/** A link that ends sooner counts as a failed attempt: two workers with one key would otherwise throw each other out for ever. */
const STABLE_MS = 5000;

/** Refusals that a person has to settle. */
const lasting: ReadonlySet<string> = new Set<ErrorCode>([
  'worker-revoked',
  'worker-unapproved',
  'worker-impostor',
  'secret-mismatch',
  'transfer-secret-mismatch',
  'handshake-version',
  'handshake-role',
]);

/**
 * A worker's place in the swarm: finds its Master, links up, and comes back by itself for as long as it lives.
 *
 * seeking (at the trackers, with an offer) → opening (WebRTC) → shaking hands → connected (the trackers are left) → seeking
 * again, at once, when the link ends. A failed attempt is followed by the next at once, after three by pauses of 0.5 s
 * doubling to a minute; after a lasting refusal the trackers are left for 8 s, doubling to five minutes.
 */
export class WorkerSwarm extends Emitter<WorkerSwarmEvents> {
  readonly #settings: SwarmSettings;
  readonly #infoHash: Uint8Array;
  readonly #backoff: Backoff;
  readonly #refusedBackoff: Backoff;
  readonly #pace: TrackerPace;
  readonly #warnings: WarningFilter;
  readonly #peers = new Map<string, Peer>();
  /** Trackers whose last answer came to nothing. */
  readonly #distrusted = new Set<string>();
  readonly #ending = new AbortController();
  #running: Promise<void> | undefined;
  #failures = 0;
  #restMs = 0;

  /** Throws `option-invalid` or what is wrong with the token. */
  constructor(options: SwarmOptions) {
    super();
    const settings = settleOptions(options);
    this.#settings = settings;
    const hashes = rendezvousHashes(settings.token, settings.platform.primitives);
    // By the key, so that a worker is always in the same shard, and all of them evenly.
    this.#infoHash = hashes[(settings.identity.publicKey[0] ?? 0) % hashes.length] ?? new Uint8Array(20);
    this.#backoff = new Backoff({ firstMs: RETRY_FIRST_MS, capMs: RETRY_CAP_MS, random: settings.random });
    this.#refusedBackoff = new Backoff({
      firstMs: settings.times.refusedMs ?? REFUSED_FIRST_MS,
      capMs: REFUSED_CAP_MS,
      random: settings.random,
    });
    this.#pace = new TrackerPace(settings.clock);
    this.#warnings = new WarningFilter(settings.clock);
  }

  get trackers(): readonly string[] {
    return this.#settings.trackers;
  }

  /** Who is connected, by id: one Master or nobody. */
  get peers(): ReadonlyMap<string, Peer> {
    return this.#peers;
  }

  start(): void {
    if (this.#ending.signal.aborted || this.#running) return;
    if (this.#settings.iceRefusal) this.#tell(this.#settings.iceRefusal);
    this.#running = this.#run();
  }

  /** Leaves the trackers, then closes the link. */
  async close(): Promise<void> {
    this.#ending.abort();
    await this.#running;
    this.#settings.ice.close();
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#settings;
    for (;;) {
      const session = await this.#join();
      if (!session) return;
      const { peer } = session;
      const connectedAt = clock.now();
      this.#warnings.reset();
      this.#peers.set(peer.id, peer);
      log.info('connected', { to: peer.name, path: peer.path, ms: peer.connectMs });
      this.emit('connected', peer);
      session.start();
      const error = await session.ended;
      this.#peers.delete(peer.id);
      log.info('disconnected', { from: peer.name, why: error.message });
      this.emit('disconnected', peer, error);
      if (clock.now() - connectedAt >= STABLE_MS) this.#succeed();
      else this.#fail();
    }
  }

  /** Tries until there is a session; undefined when the swarm is closed. */
  async #join(): Promise<Session | undefined> {
    const { signal } = this.#ending;
    let seeker: Seeker | undefined;
    try {
      for (;;) {
        if (this.#restMs > 0) await pause(this.#settings.clock, this.#restMs, signal);
        if (signal.aborted) return undefined;
        seeker ??= this.#openSeeker();
        try {
          return await this.#attempt(seeker);
        } catch (thrown) {
          if (signal.aborted) return undefined;
          const error = asPeerworkError(thrown);
          this.#fail(error);
          this.#tell(error);
          if (!lasting.has(error.code)) continue;
          seeker.close();
          seeker = undefined;
        }
      }
    } finally {
      seeker?.close();
    }
  }

  #openSeeker(): Seeker {
    const { trackers, platform, random, clock, times } = this.#settings;
    const seeker = new Seeker({
      trackers,
      infoHash: this.#infoHash,
      openSocket: platform.openSocket,
      randomBytes: (count) => platform.primitives.randomBytes(count),
      random,
      clock,
      trackerTimes: times,
      distrusted: this.#distrusted,
      failed: (error) => this.#tell(error),
      pace: this.#pace,
      ...(times.masterAbsentMs === undefined ? {} : { masterAbsentMs: times.masterAbsentMs }),
      ...(times.quietAfterMs === undefined ? {} : { quietAfterMs: times.quietAfterMs }),
    });
    seeker.start();
    return seeker;
  }

  /** One offer from its making to the end of the handshake. Throws if it is not answered in its time or leads nowhere. */
  async #attempt(seeker: Seeker): Promise<Session> {
    const { platform, ice, clock, times } = this.#settings;
    const { signal } = this.#ending;
    while (!signal.aborted) {
      await seeker.untilWorthwhile(signal);
      if (signal.aborted) break;
      const startedAt = clock.now();
      const connectTimeout = times.connectMs === undefined ? {} : { connectTimeoutMs: times.connectMs };
      const outgoing = await createOffer(platform.engine, ice, { clock, ...connectTimeout });
      const cancel = () => {
        seeker.withdraw();
        outgoing.cancel();
      };
      signal.addEventListener('abort', cancel, { once: true });
      const renewal = clock.after(times.offerMs ?? OFFER_MS, () => seeker.withdraw());
      let tracker: string | undefined;
      try {
        const answer = signal.aborted ? undefined : await seeker.offer(outgoing.sdp);
        if (!answer) continue;
        tracker = answer.tracker;
        outgoing.accept(answer.sdp);
        const link = await outgoing.opened;
        const session = await openSession(link, { role: 'worker', settings: this.#settings, startedAt, signal });
        this.#distrusted.delete(tracker);
        return session;
      } catch (thrown) {
        if (tracker !== undefined) this.#distrusted.add(tracker);
        throw thrown;
      } finally {
        renewal.cancel();
        signal.removeEventListener('abort', cancel);
        outgoing.cancel();
      }
    }
    throw new PeerworkError('closed');
  }

  #succeed(): void {
    this.#failures = 0;
    this.#restMs = 0;
    this.#backoff.reset();
    this.#refusedBackoff.reset();
  }

  #fail(error?: PeerworkError): void {
    this.#failures += 1;
    if (error && lasting.has(error.code)) this.#restMs = this.#refusedBackoff.nextMs();
    else this.#restMs = this.#failures <= RETRIES_AT_ONCE ? 0 : this.#backoff.nextMs();
  }

  #tell(error: PeerworkError): void {
    const { log } = this.#settings;
    const isNews = this.#warnings.isNews(error);
    log[isNews ? 'warn' : 'debug'](error.message, { code: error.code });
    if (isNews) this.emit('warning', error);
  }
}
