import { asPeerworkError, type ErrorCode, PeerworkError } from '../errors.js';
import { Emitter, WarningFilter } from './events.js';
import { answerOffer } from './link/dial.js';
import type { Peer } from './peer.js';
import { Lobby, type Visit } from './rendezvous/lobby.js';
import { openSession, type Session } from './session.js';
import { resolveOptions, type SwarmOptions, type SwarmSettings } from './swarm-settings.js';
import { rendezvousHashes } from './token.js';

export interface MasterSwarmOptions extends SwarmOptions {
  /**
   * Called for each worker that has proven its identity. A returned code refuses the worker and is sent to it: `worker-revoked`,
   * `worker-unapproved`.
   */
  readonly admit?: ((id: string, name: string) => ErrorCode | undefined) | undefined;
  /** Offers answered concurrently; default 64. */
  readonly maxPending?: number | undefined;
}

export type MasterSwarmEvents = {
  connected: [peer: Peer];
  /** `error` says why the link ended. */
  disconnected: [peer: Peer, error: Error];
  /**
   * A tracker warning, or a worker that tried to connect and failed. A warning that repeats the previous one is emitted at most every 30
   * s.
   */
  warning: [error: PeerworkError];
};

/**
 * The Master's place in the swarm: waits at all trackers for workers, answers their offers, and keeps a link to each that proves itself.
 * The link of a worker that connects again replaces its previous one.
 */
export class MasterSwarm extends Emitter<MasterSwarmEvents> {
  /** Resolves when the first tracker has responded; never rejects, and stays pending if the swarm is closed before. */
  readonly ready: Promise<void>;
  readonly #settings: SwarmSettings;
  readonly #admit: MasterSwarmOptions['admit'];
  readonly #lobby: Lobby;
  readonly #warnings: WarningFilter;
  readonly #peers = new Map<string, Peer>();
  /** Every visit, from its offer to the end of its link, with the controller that ends it. */
  readonly #visits = new Map<AbortController, Promise<void>>();
  #closed = false;

  /** Throws `option-invalid` or the code of the token error. */
  constructor(options: MasterSwarmOptions) {
    super();
    const settings = resolveOptions(options);
    const { platform, trackers, token, random, clock, times } = settings;
    this.#settings = settings;
    this.#admit = options.admit;
    this.#warnings = new WarningFilter(clock);
    let reached = () => {};
    this.ready = new Promise((resolve) => {
      reached = resolve;
    });
    this.#lobby = new Lobby(
      {
        trackers,
        infoHashes: rendezvousHashes(token, platform.primitives),
        openSocket: platform.openSocket,
        randomBytes: (count) => platform.primitives.randomBytes(count),
        random,
        clock,
        trackerTimes: times,
        ...(options.maxPending === undefined ? {} : { maxPending: options.maxPending }),
      },
      { reached: () => reached(), failed: (error) => this.#report(error), offered: (visit) => this.#receive(visit) },
    );
  }

  get trackers(): readonly string[] {
    return this.#settings.trackers;
  }

  /** Connected workers by id. */
  get peers(): ReadonlyMap<string, Peer> {
    return this.#peers;
  }

  start(): void {
    if (this.#closed) return;
    if (this.#settings.iceRefusal) this.#report(this.#settings.iceRefusal);
    this.#lobby.start();
  }

  /** Leaves the trackers first, so that no worker reconnects to a Master that is shutting down; then closes all links. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#lobby.close();
    for (const ending of this.#visits.keys()) ending.abort();
    await Promise.all(this.#visits.values());
    this.#settings.ice.close();
  }

  #receive(visit: Visit): void {
    const ending = new AbortController();
    const served = this.#serve(visit, ending.signal)
      .catch((thrown: unknown) => {
        if (!ending.signal.aborted) this.#report(asPeerworkError(thrown));
      })
      .finally(() => {
        visit.end();
        this.#visits.delete(ending);
      });
    this.#visits.set(ending, served);
  }

  /** Serves one worker, from its offer to the end of its link. */
  async #serve(visit: Visit, signal: AbortSignal): Promise<void> {
    const { platform, ice, clock, times } = this.#settings;
    const startedAt = clock.now();
    const connectTimeout = times.connectMs === undefined ? {} : { connectTimeoutMs: times.connectMs };
    const incoming = answerOffer(platform.engine, ice, visit.sdp, { clock, ...connectTimeout });
    const cancel = () => incoming.cancel();
    signal.addEventListener('abort', cancel, { once: true });
    try {
      visit.answer(await incoming.answer);
      const link = await incoming.opened;
      const session = await openSession(link, {
        role: 'master',
        settings: this.#settings,
        startedAt,
        signal,
        admit: this.#admit,
      });
      visit.admit();
      this.#register(session);
      this.#unregister(session.peer, await session.ended);
    } finally {
      signal.removeEventListener('abort', cancel);
      incoming.cancel();
    }
  }

  #register({ peer, start }: Session): void {
    const old = this.#peers.get(peer.id);
    if (old) {
      old.rpc.close();
      this.#unregister(old, new PeerworkError('link-closed', 'the worker came again'));
    }
    this.#peers.set(peer.id, peer);
    this.#settings.log.info('connected', { worker: peer.name, path: peer.path, ms: peer.connectMs });
    this.emit('connected', peer);
    start();
  }

  /** Runs once per peer, whether its link ended or another replaced it. */
  #unregister(peer: Peer, error: Error): void {
    if (this.#peers.get(peer.id) !== peer) return;
    this.#peers.delete(peer.id);
    if (error instanceof PeerworkError && error.code === 'link-lost') this.#lobby.probe();
    this.#settings.log.info('disconnected', { worker: peer.name, why: error.message });
    this.emit('disconnected', peer, error);
  }

  #report(error: PeerworkError): void {
    const { log } = this.#settings;
    const isNew = this.#warnings.isNew(error);
    log[isNew ? 'warn' : 'debug'](error.message, { code: error.code });
    if (isNew) this.emit('warning', error);
  }
}
