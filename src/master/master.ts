import { EventEmitter } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Clock, systemClock } from '../clock.js';
import { asPeerworkError, type PeerworkError } from '../errors.js';
import type { JobInput, Json } from '../job/job.js';
import { DEFAULT_BEAT_MS, DEFAULT_LEASE_MS } from '../job/limits.js';
import type { AddedJob, JobCounts, JobRecord, Ledger } from '../ledger/ledger.js';
import { openLedger } from '../ledger/open.js';
import { type Log, logToStderr } from '../log.js';
import { MasterSwarm } from '../swarm/master-swarm.js';
import { nodePlatform } from '../swarm/platform.node.js';
import { version } from '../version.js';
import { Dispatch } from './dispatch.js';
import { type MapOptions, type MappedOutcome, mapJobs } from './map.js';
import { fileOf, type MasterKey, openMasterKey } from './master-key.js';
import { openTasks } from './open-tasks.js';
import { type ConnectedWorker, DEFAULT_LEDGER, type MasterEvents, type MasterOptions } from './options.js';
import { type Result, Results } from './results.js';
import { Roster } from './roster.js';
import { Sweeper } from './sweeper.js';
import type { Tasks } from './tasks.js';

/** Everything that stands once the Master is ready. */
interface Parts {
  readonly ledger: Ledger;
  readonly tasks: Tasks;
  readonly dispatch: Dispatch;
  readonly results: Results;
  readonly sweeper: Sweeper;
  readonly roster: Roster;
  readonly swarm: MasterSwarm;
}

/**
 * Publishes tasks, remembers jobs in its ledger, hands them to the workers that join with its token, and records their outcomes.
 *
 * It starts when it is made; `ready` resolves when ledger, tasks and swarm stand. `drain` stops handing out and waits for the jobs
 * that run now; `close` ends at once and loses nothing: what runs goes on and is delivered to the next Master on this ledger.
 */
export class Master extends EventEmitter<MasterEvents> {
  readonly ready: Promise<void>;
  readonly #options: MasterOptions;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #key: MasterKey;
  readonly #starting: Promise<Parts>;
  #ledger: Ledger | undefined;
  #roster: Roster | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: MasterOptions = {}) {
    super();
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? logToStderr(options.loglevel ?? 'warn');
    this.#key = openMasterKey(options, DEFAULT_LEDGER);
    this.#starting = this.#start();
    this.ready = this.#starting.then(({ swarm }) => swarm.ready);
    this.ready.catch((error: unknown) => this.#fail(asPeerworkError(error)));
  }

  /** What a Worker needs to join. A secret: whoever has it may join. */
  get token(): string {
    return this.#key.token;
  }

  /** Adds one job, or many; resolves when they are in the ledger. An id that is known already adds nothing. */
  async push(job: JobInput): Promise<string>;
  async push(jobs: readonly JobInput[]): Promise<AddedJob[]>;
  async push(input: JobInput | readonly JobInput[]): Promise<string | AddedJob[]> {
    const { ledger, dispatch, sweeper } = await this.#starting;
    const jobs = isList(input) ? input : [input];
    const now = this.#clock.now();
    const adding = ledger.add(jobs, now);
    // Now, not afterwards: the claims of waiting workers share the transaction, which is a third less to wait for on an idle grid.
    dispatch.wake();
    const added = await adding;
    for (const { delayMs } of jobs) if (delayMs !== undefined && delayMs > 0) sweeper.hint(now + delayMs);
    return isList(input) ? added : (added[0]?.id ?? '');
  }

  /** As in queue-xec. */
  pushNewJob(job: JobInput): Promise<string> {
    return this.push(job);
  }

  /** Does one job for each input and yields each input's one outcome, as they settle. */
  async *map(inputs: Iterable<Json> | AsyncIterable<Json>, options: MapOptions = {}): AsyncGenerator<MappedOutcome, void, undefined> {
    const { ledger, results } = await this.#starting;
    yield* mapJobs(inputs, options, (jobs) => this.push(jobs), results, await ledger.lastSettled());
  }

  /** Follows the settled jobs from behind `after` (default: from the first) until the Master closes. */
  async *results(options: { readonly after?: number; readonly signal?: AbortSignal } = {}): AsyncGenerator<Result, void, undefined> {
    const { results } = await this.#starting;
    yield* results.follow(options);
  }

  async get(id: string): Promise<JobRecord | undefined> {
    return (await this.#starting).ledger.get(id);
  }

  async counts(): Promise<JobCounts> {
    return (await this.#starting).ledger.counts();
  }

  /** Cancels jobs, waiting or running; answers the ids that this ended. */
  async cancel(...ids: string[]): Promise<string[]> {
    const { ledger, roster, results } = await this.#starting;
    const cancelled = await ledger.cancel(ids, this.#clock.now());
    for (const { id, running } of cancelled) if (running !== undefined) roster.cancel(running.workerId, { id, lease: running.lease });
    results.wake();
    return cancelled.map(({ id }) => id);
  }

  /** The workers that are connected now. */
  workers(): ConnectedWorker[] {
    return this.#roster?.list() ?? [];
  }

  /** Stops handing out jobs and waits until those that run have ended, then closes. */
  async drain(): Promise<void> {
    const { ledger, dispatch } = await this.#starting;
    dispatch.close();
    while (this.#closing === undefined && (await ledger.counts()).leased > 0) await new Promise((resolve) => setTimeout(resolve, 100));
    await this.close();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #start(): Promise<Parts> {
    const options = this.#options;
    const shared = { clock: this.#clock, log: this.#log };
    const file = fileOf(options.ledger ?? DEFAULT_LEDGER, '');
    if (file !== undefined) await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    const ledger = await openLedger(options.ledger ?? DEFAULT_LEDGER);
    this.#ledger = ledger;
    const tasks = await openTasks({
      ...shared,
      task: options.task ?? options.execAssets,
      folder: fileOf(options.ledger ?? DEFAULT_LEDGER, '.tasks'),
      watch: options.watch ?? true,
      identity: this.#key.identity,
      agree: (key, value) => ledger.agree(key, value),
      onPublished: (task) => this.emit('published', task),
      onError: (error) => this.emit('trouble', error),
    });
    const leaseMs = options.leaseMs ?? DEFAULT_LEASE_MS;
    const dispatch = new Dispatch({ ...shared, ledger, leaseMs, channels: () => tasks.channels });
    const results = new Results(ledger);
    const changed = () => {
      results.wake();
      dispatch.wake();
    };
    const sweeper = new Sweeper({ ...shared, ledger, graceMs: leaseMs, onSweep: changed });
    const roster = new Roster({
      ...shared,
      ledger,
      dispatch,
      tasks,
      // Three beats within a lease, so that two may get lost.
      master: { name: options.name ?? 'master', version, leaseMs, beatMs: Math.min(DEFAULT_BEAT_MS, Math.ceil(leaseMs / 3)) },
      onChange: changed,
      onReport: (id, worker, progress) => this.emit('progress', { id, worker: worker.name, progress }),
    });
    this.#roster = roster;
    ledger.watch(({ ready, settled, cancelled }) => {
      if (ready) {
        dispatch.wake();
        // It may be ready later, at an instant that only the ledger knows.
        sweeper.hint(this.#clock.now());
      }
      if (settled) results.wake();
      for (const { id, running } of cancelled) if (running !== undefined) roster.cancel(running.workerId, { id, lease: running.lease });
    });
    const swarm = this.#join(roster);
    await this.#announce(results);
    sweeper.start();
    return { ledger, tasks, dispatch, results, sweeper, roster, swarm };
  }

  #join(roster: Roster): MasterSwarm {
    const { name, transferEncryptToken, trackers, ice, admit } = this.#options;
    const swarm = new MasterSwarm({
      token: this.#key.parsed,
      identity: this.#key.identity,
      name: name ?? 'master',
      platform: nodePlatform(),
      clock: this.#clock,
      log: this.#log,
      ...(transferEncryptToken === undefined ? {} : { transferSecret: transferEncryptToken }),
      ...(trackers === undefined ? {} : { trackers }),
      ...(ice === undefined ? {} : { ice }),
      ...(admit === undefined ? {} : { admit }),
      accept: (facts) => roster.accept(facts),
    });
    swarm.on('connected', (peer) => this.emit('connected', roster.join(peer)));
    swarm.on('disconnected', (peer, error) => {
      const worker = roster.leave(peer);
      if (worker !== undefined) this.emit('disconnected', worker, asPeerworkError(error, 'link-lost'));
    });
    swarm.on('trouble', (error) => this.emit('trouble', error));
    swarm.start();
    return swarm;
  }

  /** Turns what is settled from now on into events. */
  async #announce(results: Results): Promise<void> {
    const { onResults } = this.#options;
    const after = (await this.#ledger?.lastSettled()) ?? 0;
    const follow = async () => {
      for await (const { job } of results.follow({ after })) {
        this.emit('settled', job);
        onResults?.({ ...job, jobID: job.id, data: job.output });
      }
    };
    follow().catch((error: unknown) => this.#fail(asPeerworkError(error)));
  }

  async #close(): Promise<void> {
    const parts = await this.#starting.catch(() => undefined);
    if (parts !== undefined) {
      parts.dispatch.close();
      await parts.swarm.close();
      await parts.sweeper.close();
      await parts.results.close();
      await parts.tasks.close();
    }
    await this.#ledger?.close();
  }

  #fail(error: PeerworkError): void {
    if (this.#closing !== undefined) return;
    this.#log.error(error.message, { code: error.code });
    if (this.listenerCount('error') > 0) this.emit('error', error);
  }
}

function isList(input: JobInput | readonly JobInput[]): input is readonly JobInput[] {
  return Array.isArray(input);
}
