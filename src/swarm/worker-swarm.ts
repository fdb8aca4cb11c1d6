import { pause } from '../clock.js';
import { asPeerworkError, type ErrorCode, PeerworkError } from '../errors.js';
import { Backoff } from '../kit/backoff.js';
import { Emitter, WarningFilter } from './events.js';
import { createOffer } from './link/dial.js';
import type { Peer } from './peer.js';
import { Seeker } from './rendezvous/seeker.js';
import { TrackerPace } from './rendezvous/tracker-pace.js';
import { openSession, type Session } from './session.js';
import { resolveOptions, type SwarmOptions, type SwarmSettings } from './swarm-settings.js';
import { rendezvousHashes } from './token.js';

export type WorkerSwarmEvents = {
  connected: [peer: Peer];
  /** `error` is the reason why the link ended. */
  disconnected: [peer: Peer, error: Error];
  /**
   * A step failed and is being retried: `tracker-unreachable`, `tracker-refused`, `master-absent`, `master-busy`, `ice-failed`,
   * `dtls-failed`, `link-timeout`, or the code with which the handshake was refused. A warning that repeats the previous one is emitted
   * at most every 30 s.
   */
  warning: [error: PeerworkError];
};

const OFFER_MS = 40_000;
const REFUSED_FIRST_MS = 8000;
const REFUSED_CAP_MS = 300_000;
const RETRIES_AT_ONCE = 3;
const RETRY_FIRST_MS = 500;
const RETRY_CAP_MS = 60_000;
/**
 * A link that ends sooner counts as a failed attempt: otherwise two workers with the same key would keep evicting each other at full
 * speed.
 */
const STABLE_MS = 5000;

/** Refusals that need a person to resolve them. */
const lastingRefusals: ReadonlySet<string> = new Set<ErrorCode>([
  'worker-revoked',
  'worker-unapproved',
  'worker-impostor',
  'secret-mismatch',
  'transfer-secret-mismatch',
  'handshake-version',
  'handshake-role',
]);

/**
 * A worker's place in the swarm: finds its Master, connects, and reconnects by itself until it is closed.
 *
 * seeking (at the trackers, with an offer) → opening (WebRTC) → handshake → connected (off the trackers) → seeking again, at once, when
 * the link ends. The first three failed attempts are retried at once, later ones after pauses of 0.5 s doubling to a minute. After a
 * lasting refusal the worker stays off the trackers for 8 s, doubling to five minutes.
 */
export class WorkerSwarm extends Emitter<WorkerSwarmEvents> {
  readonly #settings: SwarmSettings;
  readonly #infoHash: Uint8Array;
  readonly #backoff: Backoff;
  readonly #refusedBackoff: Backoff;
  readonly #pace: TrackerPace;
  readonly #warnings: WarningFilter;
  readonly #peers = new Map<string, Peer>();
  /** Trackers whose last answer led nowhere. */
  readonly #distrusted = new Set<string>();
  readonly #ending = new AbortController();
  #running: Promise<void> | undefined;
  #failures = 0;
  #restMs = 0;

  /** Throws `option-invalid` or the code of the token error. */
  constructor(options: SwarmOptions) {
    super();
    const settings = resolveOptions(options);
    this.#settings = settings;
    const hashes = rendezvousHashes(settings.token, settings.platform.primitives);
    // Sharded by key, so that a worker is always in the same shard and the shards fill evenly.
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

  /** Connected peers by id: the Master or none. */
  get peers(): ReadonlyMap<string, Peer> {
    return this.#peers;
  }

  start(): void {
    if (this.#ending.signal.aborted || this.#running) return;
    if (this.#settings.iceRefusal) this.#report(this.#settings.iceRefusal);
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

  /** Retries until there is a session; returns undefined once the swarm is closed. */
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
          this.#report(error);
          if (!lastingRefusals.has(error.code)) continue;
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
      failed: (error) => this.#report(error),
      pace: this.#pace,
      ...(times.masterAbsentMs === undefined ? {} : { masterAbsentMs: times.masterAbsentMs }),
      ...(times.quietAfterMs === undefined ? {} : { quietAfterMs: times.quietAfterMs }),
    });
    seeker.start();
    return seeker;
  }

  /** Runs one offer, from its creation to the end of the handshake. Throws if it is not answered in time or leads nowhere. */
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
    if (error && lastingRefusals.has(error.code)) this.#restMs = this.#refusedBackoff.nextMs();
    else this.#restMs = this.#failures <= RETRIES_AT_ONCE ? 0 : this.#backoff.nextMs();
  }

  #report(error: PeerworkError): void {
    const { log } = this.#settings;
    const isNew = this.#warnings.isNew(error);
    log[isNew ? 'warn' : 'debug'](error.message, { code: error.code });
    if (isNew) this.emit('warning', error);
  }
}
