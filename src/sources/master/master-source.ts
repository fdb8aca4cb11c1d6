import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { type Clock, pause, type Timer } from '../../clock.js';
import { asPeerworkError, type PeerworkError } from '../../errors.js';
import type { IsolationTier } from '../../job/runner.js';
import type { Lease, Source } from '../../job/source.js';
import { cancelWorkArgs, checked, isMasterAnswer, type LeaseKey, pingAnswer, requestWorkAnswer, type WorkItem } from '../../job/verbs.js';
import { orAborted } from '../../kit/or-aborted.js';
import type { Log } from '../../log.js';
import type { Peer, PeerFacts, Rpc, RpcHandlers } from '../../swarm/peer.js';
import type { Outbox } from '../outbox.js';
import { Deliveries } from './deliveries.js';
import { LeaseBook } from './lease-book.js';
import { PeerOrigin } from './origin.js';
import { PeerTunnel } from './peer-tunnel.js';
import { ReportSender } from './report-sender.js';

const RETRY_MS = 500;

/** What the Master is told about this worker when it connects. */
export interface WorkerFacts {
  readonly version: string;
  readonly concurrency: number;
  readonly isolation: string;
  /** Of task modules. */
  readonly tier?: IsolationTier;
  readonly platform: string;
  readonly labels: readonly string[];
  readonly runners: readonly string[];
}

/** The part of a WorkerSwarm that the source uses. */
export interface MasterFinder {
  on(event: 'connected', listener: (peer: Peer) => void): unknown;
  on(event: 'disconnected', listener: (peer: Peer, error: Error) => void): unknown;
  on(event: 'trouble', listener: (error: PeerworkError) => void): unknown;
  start(): void;
  close(): Promise<void>;
}

export interface MasterSourceOptions {
  /** Makes the swarm member; its handlers answer the Master's calls. */
  readonly join: (accept: (peer: PeerFacts) => RpcHandlers) => MasterFinder;
  /** May take a while after the start; only the first greeting waits for it. What changes later is told by `renew`. */
  readonly facts: () => Promise<WorkerFacts>;
  /** The Master's public key, base64url: who must have signed its tasks. */
  readonly publisher: string;
  readonly outbox: Outbox;
  readonly clock: Clock;
  readonly log: Log;
}

/** The Master that we are linked with and that knows us. */
export interface JoinedMaster {
  readonly name: string;
  readonly peer: Peer;
}

export interface MasterSourceEvents {
  connected: [master: JoinedMaster];
  disconnected: [error: PeerworkError];
  trouble: [error: PeerworkError];
}

/**
 * Leases jobs from a peerwork Master.
 *
 * Leases outlive links. When a link is lost the runs go on; over the next link the worker first says which leases it still holds
 * (`isMaster`), learns which of them are lost, delivers what waits in the outbox and what runs have told meanwhile, and only then asks for more. While a link is up one
 * beat renews all leases at once.
 */
export class MasterSource extends EventEmitter<MasterSourceEvents> implements Source {
  readonly name = 'master';
  readonly #options: MasterSourceOptions;
  readonly #swarm: MasterFinder;
  readonly #book: LeaseBook;
  readonly #deliveries: Deliveries;
  readonly #instance = randomUUID();
  readonly #reports: ReportSender;
  #master: JoinedMaster | undefined;
  #beat: Timer | undefined;
  /** To requests for work, over this link, that brought some. */
  #answers = 0;
  /** What this worker can do, and what the Master has heard of it. */
  #facts: WorkerFacts | undefined;
  #told: WorkerFacts | undefined;
  /** Ends the open request for work. */
  #withdraw: (() => void) | undefined;
  #waiting: (() => void)[] = [];
  #closed = false;

  constructor(options: MasterSourceOptions) {
    super();
    this.#options = options;
    this.#deliveries = new Deliveries(options.outbox, options.clock, options.log);
    this.#reports = new ReportSender(options.clock, options.log);
    this.#book = new LeaseBook({
      reports: this.#reports,
      settle: (settlement) => this.#deliveries.deliver(settlement),
      origin: (digest) => new PeerOrigin(digest, options.publisher, () => this.#master?.peer.rpc),
      tunnel: (key) => new PeerTunnel(key, () => this.#master?.peer.rpc),
      now: () => options.clock.now(),
    });
    this.#swarm = options.join(() => ({ notes: { cancelWork: (args) => this.#cancel(checked(cancelWorkArgs, args).leases) } }));
    this.#swarm.on('connected', (peer) => void this.#greet(peer));
    this.#swarm.on('disconnected', (peer, error) => this.#leave(peer, asPeerworkError(error, 'link-lost')));
    this.#swarm.on('trouble', (error) => this.emit('trouble', error));
  }

  get master(): JoinedMaster | undefined {
    return this.#master;
  }

  start(): void {
    this.#swarm.start();
  }

  /** The worker can do more: the Master hears of it with the next request for work, so the open one ends. */
  renew(facts: WorkerFacts): void {
    this.#facts = facts;
    this.#withdraw?.();
  }

  async claim(capacity: number, signal: AbortSignal): Promise<Lease[]> {
    while (!signal.aborted && !this.#closed) {
      const rpc = await this.#connected(signal);
      if (rpc === undefined) break;
      await this.#deliveries.room(signal);
      if (signal.aborted || this.#master?.peer.rpc !== rpc) continue;
      const work = await this.#requestWork(rpc, capacity, signal);
      if (work.length > 0) return work.map((item) => this.#book.open(item));
    }
    return [];
  }

  flush(signal: AbortSignal): Promise<void> {
    return this.#deliveries.flush(signal);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#beat?.cancel();
    this.#reports.close();
    for (const resolve of this.#waiting.splice(0)) resolve();
    await this.#swarm.close();
    await this.#options.outbox.close();
  }

  /** Everything that the Master must not think lost: runs, and outcomes on their way. */
  #holding(): LeaseKey[] {
    return [...this.#book.keys(), ...this.#settled()];
  }

  #settled(): LeaseKey[] {
    return this.#book.renewable(this.#options.outbox.pending().map(({ id, lease }) => ({ id, lease })));
  }

  /** The Master says that these are not ours any more. */
  #lose(keys: readonly LeaseKey[]): void {
    this.#book.lose(keys);
    this.#deliveries.withdraw(keys);
  }

  /** The same, since somebody cancelled the jobs. */
  #cancel(keys: readonly LeaseKey[]): void {
    this.#book.cancel(keys);
    this.#deliveries.withdraw(keys);
  }

  async #greet(peer: Peer): Promise<void> {
    try {
      const first = await this.#options.facts();
      const facts = this.#facts ?? first;
      this.#facts = facts;
      const answer = checked(
        isMasterAnswer,
        await peer.rpc.call('isMaster', { ...facts, instance: this.#instance, holding: this.#holding() }),
      );
      this.#master = { name: answer.name, peer };
      this.#answers = 0;
      this.#told = facts;
      this.#lose(answer.lost);
      this.#deliveries.connect(peer.rpc);
      this.#reports.connect(peer.rpc);
      this.#scheduleBeat(peer, answer.beatMs);
      for (const resolve of this.#waiting.splice(0)) resolve();
      this.emit('connected', this.#master);
    } catch (error) {
      this.emit('trouble', asPeerworkError(error));
      peer.rpc.close();
    }
  }

  #leave(peer: Peer, error: PeerworkError): void {
    if (this.#master?.peer !== peer) return;
    this.#master = undefined;
    this.#beat?.cancel();
    this.#deliveries.disconnect(peer.rpc);
    this.#reports.disconnect(peer.rpc);
    this.emit('disconnected', error);
  }

  #scheduleBeat(peer: Peer, beatMs: number): void {
    this.#beat?.cancel();
    this.#beat = this.#options.clock.after(
      beatMs,
      async () => {
        if (this.#master?.peer !== peer) return;
        try {
          const holding = this.#holding();
          if (holding.length > 0) {
            const beat = { holding, waiting: this.#book.waiting(), ended: this.#settled(), answers: this.#answers };
            this.#lose(checked(pingAnswer, await peer.rpc.call('ping', beat)).lost);
          }
        } catch (error) {
          this.#options.log.debug('a beat failed', { error });
        }
        if (this.#master?.peer === peer) this.#scheduleBeat(peer, beatMs);
      },
      { unref: true },
    );
  }

  async #requestWork(rpc: Rpc, capacity: number, signal: AbortSignal): Promise<WorkItem[]> {
    // The call itself is never cancelled: jobs that are on their way would be lost until their lease ends. A call with capacity 0
    // makes the Master answer the open one at once, with jobs or without.
    const withdraw = () => void rpc.call('requestWork', { capacity: 0 }).catch(() => {});
    const facts = this.#facts;
    const news = facts === undefined || facts === this.#told ? {} : { can: { labels: facts.labels, runners: facts.runners } };
    signal.addEventListener('abort', withdraw, { once: true });
    this.#withdraw = withdraw;
    try {
      const call = rpc.call('requestWork', { capacity, ...news }, { timeoutMs: 0 });
      this.#told = facts;
      const { work } = checked(requestWorkAnswer, await call);
      if (work.length > 0) this.#answers += 1;
      return work;
    } catch (error) {
      // It may not have been looked at.
      this.#told = undefined;
      this.#options.log.debug('a request for work ended', { error });
      if (this.#master?.peer.rpc === rpc) await pause(this.#options.clock, RETRY_MS, signal);
      return [];
    } finally {
      signal.removeEventListener('abort', withdraw);
      this.#withdraw = undefined;
    }
  }

  async #connected(signal: AbortSignal): Promise<Rpc | undefined> {
    while (this.#master === undefined && !signal.aborted && !this.#closed)
      await orAborted(new Promise<void>((resolve) => this.#waiting.push(resolve)), signal);
    return this.#master?.peer.rpc;
  }
}
