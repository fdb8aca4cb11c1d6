import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { type Clock, pause, type Timer } from '../../clock.js';
import { asPeerworkError, PeerworkError } from '../../errors.js';
import type { IsolationTier } from '../../job/runner.js';
import type { Lease, SignedManifest, TaskOrigin } from '../../job/source.js';
import {
  cancelWorkArgs,
  checked,
  isMasterAnswer,
  type LeaseKey,
  pingAnswer,
  requestExecAssetsAnswer,
  requestWorkAnswer,
  type WorkItem,
} from '../../job/verbs.js';
import type { Log } from '../../log.js';
import type { Peer, PeerFacts, Rpc, RpcHandlers } from '../../swarm/peer.js';
import { LeasedSource } from '../leased-source.js';
import type { Outbox } from '../outbox.js';
import type { OutgoingFiles } from '../outgoing-files.js';
import { Deliveries } from './deliveries.js';
import { LeaseBook } from './lease-book.js';
import { PeerTunnel } from './peer-tunnel.js';
import { ReportSender } from './report-sender.js';

const RETRY_MS = 500;

/** What the worker reports about itself when it connects. */
export interface WorkerFacts {
  readonly version: string;
  readonly concurrency: number;
  readonly isolation: string;
  /** Isolation tier of task modules. */
  readonly tier?: IsolationTier;
  readonly platform: string;
  readonly labels: readonly string[];
  readonly runners: readonly string[];
}

/** The part of a WorkerSwarm that the source uses. */
export interface MasterFinder {
  on(event: 'connected', listener: (peer: Peer) => void): unknown;
  on(event: 'disconnected', listener: (peer: Peer, error: Error) => void): unknown;
  on(event: 'warning', listener: (error: PeerworkError) => void): unknown;
  start(): void;
  close(): Promise<void>;
}

export interface MasterSourceOptions {
  /** Joins the swarm; the returned handlers serve the Master's calls. */
  readonly join: (accept: (peer: PeerFacts) => RpcHandlers) => MasterFinder;
  /** Returns the worker's facts. May take a while after the start; only the first greeting waits for it. `renew` reports later changes. */
  readonly facts: () => Promise<WorkerFacts>;
  /** The Master's public key (base64url), which must have signed its tasks. */
  readonly publisher: string;
  readonly outbox: Outbox;
  /** Files of outcomes in the outbox. */
  readonly outgoing: OutgoingFiles;
  readonly clock: Clock;
  readonly log: Log;
}

/** The Master that we are linked to and that has accepted our greeting. */
export interface JoinedMaster {
  readonly name: string;
  readonly peer: Peer;
}

export interface MasterSourceEvents {
  connected: [master: JoinedMaster];
  disconnected: [error: PeerworkError];
  warning: [error: PeerworkError];
}

/**
 * Leases jobs from a peerwork Master.
 *
 * Leases outlive links. When a link is lost, runs continue. Over the next link the worker first reports the leases it still holds
 * (`isMaster`) and learns which of them are lost. It delivers the outbox and the runs' reports, and only then requests more work. While a
 * link is up, one beat renews all leases at once.
 */
export class MasterSource extends LeasedSource {
  readonly #events = new EventEmitter<MasterSourceEvents>();
  readonly #options: MasterSourceOptions;
  readonly #swarm: MasterFinder;
  readonly #book: LeaseBook;
  readonly #deliveries: Deliveries;
  readonly #instance = randomUUID();
  readonly #reports: ReportSender;
  #master: JoinedMaster | undefined;
  #beat: Timer | undefined;
  /** Number of non-empty answers to `requestWork` over this link. */
  #answers = 0;
  /** What this worker can do. */
  #facts: WorkerFacts | undefined;
  /** The facts that were last reported to the Master. */
  #reportedFacts: WorkerFacts | undefined;
  /** Withdraws the open request for work. */
  #withdraw: (() => void) | undefined;

  constructor(options: MasterSourceOptions) {
    super('master', options.clock);
    this.#options = options;
    this.#deliveries = new Deliveries(options.outbox, options.outgoing, options.clock, options.log);
    this.#reports = new ReportSender(options.clock, options.log);
    this.#book = new LeaseBook({
      files: options.outgoing,
      reports: this.#reports,
      settle: (settlement, late) => this.#deliveries.deliver(settlement, late),
      origin: (digest) => new PeerOrigin(digest, options.publisher, () => this.#master?.peer.rpc),
      tunnel: (key) => new PeerTunnel(key, () => this.#master?.peer.rpc),
      openFile: ({ id, lease }, sha256, offset, signal) => this.#link().stream('requestFile', { id, lease, sha256, offset }, { signal }),
      now: () => options.clock.now(),
    });
    this.#swarm = options.join(() => ({ notes: { cancelWork: (args) => this.#cancel(checked(cancelWorkArgs, args).leases) } }));
    this.#swarm.on('connected', (peer) => void this.#greet(peer));
    this.#swarm.on('disconnected', (peer, error) => this.#leave(peer, asPeerworkError(error, 'link-lost')));
    this.#swarm.on('warning', (error) => this.#events.emit('warning', error));
  }

  on<K extends keyof MasterSourceEvents>(event: K, listener: (...args: MasterSourceEvents[K]) => void): this {
    (this.#events as EventEmitter).on(event, listener as (...args: unknown[]) => void);
    return this;
  }

  get master(): JoinedMaster | undefined {
    return this.#master;
  }

  start(): void {
    this.#swarm.start();
  }

  /** Called when the worker can do more. The next request for work reports it, so the open one is withdrawn. */
  renew(facts: WorkerFacts): void {
    this.#facts = facts;
    this.#withdraw?.();
  }

  /** Also flushes the reports of runs that no longer count, since no outcome carries them. */
  async flush(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#deliveries.flush(signal), this.#reports.emptied(signal)]);
  }

  protected async take(capacity: number, signal: AbortSignal): Promise<Lease[]> {
    const rpc = this.#master?.peer.rpc;
    if (rpc === undefined) return [];
    await this.#deliveries.room(signal);
    if (signal.aborted || this.#master?.peer.rpc !== rpc) return [];
    const work = await this.#requestWork(rpc, capacity, signal);
    return work.map((item) => this.#book.open(item));
  }

  /** While a Master is connected, the request itself waits for work; otherwise only its return wakes the claim. */
  protected override idleMs(): number {
    return this.#master === undefined ? Number.POSITIVE_INFINITY : 0;
  }

  protected async end(): Promise<void> {
    this.#beat?.cancel();
    this.#reports.close();
    await this.#swarm.close();
    await this.#options.outbox.close();
  }

  #link(): Rpc {
    const rpc = this.#master?.peer.rpc;
    if (rpc === undefined) throw new PeerworkError('link-lost');
    return rpc;
  }

  /** Returns everything that the Master must keep leased: runs, and outcomes in transit. */
  #holding(): LeaseKey[] {
    return [...this.#book.keys(), ...this.#settled()];
  }

  #settled(): LeaseKey[] {
    return this.#deliveries.leased();
  }

  /** Handles leases that the Master reports as lost. */
  #lose(keys: readonly LeaseKey[]): void {
    this.#book.lose(keys);
    this.#deliveries.withdraw(keys);
  }

  /** The same for cancelled jobs. */
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
      this.#reportedFacts = facts;
      this.#lose(answer.lost);
      this.#deliveries.connect(peer.rpc);
      this.#reports.connect(peer.rpc);
      this.#scheduleBeat(peer, answer.beatMs);
      this.wake();
      this.#events.emit('connected', this.#master);
    } catch (error) {
      this.#events.emit('warning', asPeerworkError(error));
      peer.rpc.close();
    }
  }

  #leave(peer: Peer, error: PeerworkError): void {
    if (this.#master?.peer !== peer) return;
    this.#master = undefined;
    this.#beat?.cancel();
    this.#deliveries.disconnect(peer.rpc);
    this.#reports.disconnect(peer.rpc);
    this.#events.emit('disconnected', error);
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
    // Never cancel the call itself: jobs in transit would be lost until their leases end. A call with capacity 0 makes the Master answer
    // the open one at once, with or without jobs.
    const withdraw = () => void rpc.call('requestWork', { capacity: 0 }).catch(() => {});
    const facts = this.#facts;
    const changes = facts === undefined || facts === this.#reportedFacts ? {} : { can: { labels: facts.labels, runners: facts.runners } };
    signal.addEventListener('abort', withdraw, { once: true });
    this.#withdraw = withdraw;
    try {
      const call = rpc.call('requestWork', { capacity, ...changes }, { timeoutMs: 0 });
      this.#reportedFacts = facts;
      const { work } = checked(requestWorkAnswer, await call);
      if (work.length > 0) this.#answers += 1;
      return work;
    } catch (error) {
      // The Master may not have received it.
      this.#reportedFacts = undefined;
      this.#options.log.debug('a request for work ended', { error });
      if (this.#master?.peer.rpc === rpc) await pause(this.#options.clock, RETRY_MS, signal);
      return [];
    } finally {
      signal.removeEventListener('abort', withdraw);
      this.#withdraw = undefined;
    }
  }
}

/** The files of one task version, fetched over whichever link to the Master is up. */
class PeerOrigin implements TaskOrigin {
  readonly digest: string;
  readonly publisher: string;
  readonly #rpc: () => Rpc | undefined;

  constructor(digest: string, publisher: string, rpc: () => Rpc | undefined) {
    this.digest = digest;
    this.publisher = publisher;
    this.#rpc = rpc;
  }

  async manifest(signal: AbortSignal): Promise<SignedManifest> {
    return checked(requestExecAssetsAnswer, await this.#link().call('requestExecAssets', { digest: this.digest }, { signal }));
  }

  blob(sha256: string, offset: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
    return this.#link().stream('requestBlob', { sha256, offset }, { signal });
  }

  #link(): Rpc {
    const rpc = this.#rpc();
    if (rpc === undefined) throw new PeerworkError('link-lost');
    return rpc;
  }
}
