import { EventEmitter } from 'node:events';
import { type Clock, systemClock } from '../clock.js';
import { asPeerworkError, PeerworkError } from '../errors.js';
import type { JobInput, Json } from '../job/job.js';
import type { AddedJob, JobCounts, JobRecord, JobState, Ledger } from '../ledger/ledger.js';
import { type Log, logToStderr } from '../log.js';
import type { Desk } from './desk.js';
import type { Dispatch } from './dispatch.js';
import { fastifyPlugin, type RequestListener, requestListener } from './http/embed.js';
import type { ApiOptions } from './http/options.js';
import { dashboardFolder, HttpServer } from './http/server.js';
import type { JobDesk } from './job-desk.js';
import { type MapOptions, type MappedOutcome, mapJobs } from './map.js';
import { type MasterKey, openMasterKey } from './master-key.js';
import {
  type ConnectedWorker,
  DEFAULT_LEDGER,
  type EmbedOptions,
  type HttpOptions,
  type MasterEvents,
  type MasterOptions,
} from './options.js';
import { closeParts, openParts, type Parts } from './parts.js';
import type { Result, Results } from './results.js';
import type { Sweeper } from './sweeper.js';

const DRAIN_POLL_MS = 100;

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
  #desk: JobDesk | undefined;
  #sweeper: Sweeper | undefined;
  #http: HttpServer | undefined;
  #url: string | undefined;
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

  /** Everything that the API and the dashboard can do: groups, holds, schedules, workers, the whole ledger. */
  get desk(): Promise<Desk> {
    return this.#starting.then(({ desk }) => desk);
  }

  /** Where API and dashboard are served; undefined unless `http` was given. Rejects with `address-unusable`. */
  get url(): Promise<string | undefined> {
    return this.#starting.then(() => this.#url);
  }

  /** API and dashboard for `app.use('/path', master.express())` of Express and its like; close it when the app ends. */
  express(options: EmbedOptions = {}): RequestListener {
    return requestListener(this.#api(options));
  }

  /** API and dashboard for `app.register(master.fastify(), { prefix: '/path' })`. */
  fastify(options: EmbedOptions = {}): ReturnType<typeof fastifyPlugin> {
    return fastifyPlugin(this.#api(options));
  }

  /** What a Worker needs to join. A secret: whoever has it may join. */
  get token(): string {
    return this.#key.token;
  }

  /** Adds one job, or many; resolves when they are in the ledger. An id that is known already adds nothing. */
  async push(job: JobInput): Promise<string>;
  async push(jobs: readonly JobInput[]): Promise<AddedJob[]>;
  async push(input: JobInput | readonly JobInput[]): Promise<string | AddedJob[]> {
    const { desk } = await this.#starting;
    const added = await desk.push(isList(input) ? input : [input]);
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
    return (await this.#starting).desk.cancel(ids);
  }

  /** Failed and cancelled jobs wait again, with all their attempts, and those that failed for their sake; answers the ids of the former. */
  async retry(...ids: string[]): Promise<string[]> {
    return (await this.#starting).ledger.retry(ids, this.#clock.now());
  }

  /** The states of jobs, by id; ids that are unknown are left out. */
  async states(ids: readonly string[]): Promise<ReadonlyMap<string, JobState>> {
    return (await this.#starting).ledger.states(ids);
  }

  /** The workers that are connected now. */
  workers(): ConnectedWorker[] {
    return this.#desk?.workers() ?? [];
  }

  /** Stops handing out jobs and waits until those that its Workers run have ended, then closes. What other Masters handed out is theirs. */
  async drain(): Promise<void> {
    const { ledger, dispatch } = await this.#starting;
    dispatch.close();
    while (this.#closing === undefined && (await isBusy(ledger, dispatch, this.workers())))
      await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
    await this.close();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #start(): Promise<Parts> {
    const parts = await openParts(
      this.#options,
      this.#key,
      { clock: this.#clock, log: this.#log },
      {
        onLedger: (ledger) => {
          this.#ledger = ledger;
        },
        onPublished: (task) => this.emit('published', task),
        onTrouble: (error) => this.emit('trouble', error),
        onConnected: (worker) => this.emit('connected', worker),
        onDisconnected: (worker, error) => this.emit('disconnected', worker, asPeerworkError(error, 'link-lost')),
      },
    );
    try {
      await this.#open(parts);
      return parts;
    } catch (error) {
      await this.#http?.close();
      await closeParts(parts);
      throw error;
    }
  }

  /** From here on it can be asked, and hands out. */
  async #open({ desk, results, swarm, sweeper, renewal, legacy }: Parts): Promise<void> {
    this.#desk = desk;
    this.#sweeper = sweeper;
    desk.watch((event) => {
      if (event.kind === 'progress') this.emit('progress', { id: event.id, worker: event.worker, progress: event.progress });
    });
    await this.#announce(results);
    const { http } = this.#options;
    if (http !== undefined) {
      this.#http = new HttpServer({ ...addressOf(http), ...(await this.#api(http, desk)) });
      this.#url = (await this.#http.start()).url;
    }
    await legacy?.start();
    swarm.start();
    sweeper.start();
    renewal.start();
  }

  async #api({ crew = {}, tokens, authorize, identify }: EmbedOptions, desk?: JobDesk): Promise<ApiOptions> {
    const engine = /^postgres/.test(this.#options.ledger ?? '') ? 'postgres' : 'sqlite';
    return {
      desk: desk ?? (await this.desk),
      engine,
      dashboard: dashboardFolder,
      leasesExpired: () => this.#sweeper?.expired ?? 0,
      ...(crew !== false && { crew }),
      ...(tokens !== undefined && { tokens }),
      ...(authorize !== undefined && { authorize }),
      ...(identify !== undefined && { identify }),
    };
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
    await this.#http?.close();
    if (parts !== undefined) await closeParts(parts);
    await this.#ledger?.close();
  }

  #fail(error: PeerworkError): void {
    if (this.#closing !== undefined) return;
    this.#log.error(error.message, { code: error.code });
    if (this.listenerCount('error') > 0) this.emit('error', error);
  }
}

/** A database that is away for a moment says nothing about the jobs. */
async function isBusy(ledger: Ledger, dispatch: Dispatch, linked: readonly ConnectedWorker[]): Promise<boolean> {
  try {
    return (await ledger.countLeased([...new Set([...dispatch.served, ...linked.map(({ id }) => id)])])) > 0;
  } catch (thrown) {
    if (thrown instanceof PeerworkError && thrown.code === 'ledger-away') return true;
    throw thrown;
  }
}

/** Where it is served, without who is served there. */
function addressOf({ host, port, fallBack }: HttpOptions) {
  return { ...(host !== undefined && { host }), ...(port !== undefined && { port }), ...(fallBack !== undefined && { fallBack }) };
}

function isList(input: JobInput | readonly JobInput[]): input is readonly JobInput[] {
  return Array.isArray(input);
}
