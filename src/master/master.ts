import { type Clock, systemClock } from '../clock.js';
import { DEFAULT_LEDGER } from '../config/defaults.js';
import { asPeerworkError, PeerworkError } from '../errors.js';
import type { FileRef } from '../job/files.js';
import type { Json, SettledJob } from '../job/job.js';
import { GuardedEmitter } from '../kit/guarded-emitter.js';
import { omitNull, type WithoutNull } from '../kit/omit.js';
import { asKnownError } from '../kit/system-error.js';
import type { AddedJob, JobCounts, JobRecord, JobState, Ledger } from '../ledger/ledger.js';
import { type Log, logOf } from '../log.js';
import type { ConnectedWorker } from './connected-worker.js';
import type { Dispatch } from './dispatch.js';
import type { JobWithFiles } from './files.js';
import { fastifyPlugin, type RequestListener, requestListener } from './http/embed.js';
import type { ApiOptions } from './http/options.js';
import { dashboardFolder, HttpServer } from './http/server.js';
import type { JobService } from './job-service.js';
import type { Maintenance } from './maintenance.js';
import { type MapOptions, type MappedOutcome, mapJobs } from './map.js';
import { type MasterKey, openMasterKey } from './master-key.js';
import type { EmbedOptions, HttpOptions, MasterEvents, MasterOptions, PushResult } from './options.js';
import { closeParts, openParts, type Parts } from './parts.js';
import { type PushOptions, pushedIdIn, pushedIdOf, pushedJob } from './pushed-job.js';
import type { Result, Results } from './results.js';

const DRAIN_POLL_MS = 100;

/**
 * Publishes tasks, stores jobs in its ledger, leases them to the workers that join with its token, and records their outcomes.
 *
 * It starts when constructed; `ready` resolves when ledger, tasks and swarm are up. `drain` stops handing out jobs and waits for
 * running ones. `close` ends at once and loses nothing: running jobs continue and are delivered to the next Master on this ledger.
 */
export class Master extends GuardedEmitter<MasterEvents> {
  readonly ready: Promise<void>;
  readonly #options: WithoutNull<MasterOptions>;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #key: MasterKey;
  readonly #starting: Promise<Parts>;
  #ledger: Ledger | undefined;
  #service: JobService | undefined;
  #maintenance: Maintenance | undefined;
  #http: HttpServer | undefined;
  #url: string | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: MasterOptions = {}) {
    super();
    this.#options = omitNull(options);
    this.#clock = this.#options.clock ?? systemClock;
    this.#log = logOf(this.#options);
    this.#key = openMasterKey(this.#options, DEFAULT_LEDGER);
    this.#starting = this.#start();
    this.ready = this.#starting.then(({ swarm }) => swarm.ready);
    this.ready.catch((error: unknown) => this.#fail(asKnownError(error)));
  }

  /** Everything that the API and the dashboard can do: groups, holds, schedules, workers, the whole ledger. */
  get service(): Promise<JobService> {
    return this.#starting.then(({ service }) => service);
  }

  /** Base URL of API and dashboard; undefined unless `http` was given. Rejects with `address-unusable`. */
  get url(): Promise<string | undefined> {
    return this.#starting.then(() => this.#url);
  }

  /** Returns API and dashboard for `app.use('/path', master.express())` of Express and similar frameworks; close it when the app ends. */
  express(options: EmbedOptions = {}): RequestListener {
    return requestListener(this.#api(options));
  }

  /** Returns API and dashboard for `app.register(master.fastify(), { prefix: '/path' })`. */
  fastify(options: EmbedOptions = {}): ReturnType<typeof fastifyPlugin> {
    return fastifyPlugin(this.#api(options));
  }

  /** The token a Worker needs to join. A secret: anyone who has it may join. */
  get token(): string {
    return this.#key.token;
  }

  /** Adds one job or many, and stores their files; resolves when they are in the ledger. A job whose id exists already is not added again. */
  async push(job: JobWithFiles): Promise<string>;
  async push(jobs: readonly JobWithFiles[]): Promise<AddedJob[]>;
  async push(input: JobWithFiles | readonly JobWithFiles[]): Promise<string | AddedJob[]> {
    const { service } = await this.#starting;
    const added = await service.push(await service.files.stored(isList(input) ? input : [input]));
    return isList(input) ? added : (added[0]?.id ?? '');
  }

  /**
   * Pushes a job as queue-xec does: any JSON value, or its JSON text, is a job, and the task receives it unchanged, with all its
   * fields. Each call is new work, whatever `id` the payload has; `onResults` receives that id. Resolves with the id in the ledger.
   * Rejects with `job-invalid`.
   */
  async pushNewJob(payload: unknown, options: PushOptions = {}): Promise<string> {
    return this.push(pushedJob(payload, options));
  }

  /** Runs one job per input and yields each input's outcome as they settle. */
  async *map(inputs: Iterable<Json> | AsyncIterable<Json>, options: MapOptions = {}): AsyncGenerator<MappedOutcome, void, undefined> {
    const { ledger, results } = await this.#starting;
    yield* mapJobs(inputs, options, (jobs) => this.push(jobs), results, await ledger.lastSettled());
  }

  /** Follows the jobs settled after `after` (default: from the first) until the Master closes. */
  async *results(options: { readonly after?: number; readonly signal?: AbortSignal } = {}): AsyncGenerator<Result, void, undefined> {
    const { results } = await this.#starting;
    yield* results.follow(options);
  }

  /** Returns the record of a job; undefined if the id is unknown. */
  /** The content of a stored file, such as one that a job made: `outcome.files[name]`. Rejects with `file-unknown`. */
  async *readFile({ sha256, size }: FileRef): AsyncGenerator<Uint8Array, void, undefined> {
    const { files } = (await this.#starting).service;
    const found = await files.content(sha256);
    if (found === undefined) throw new PeerworkError('file-unknown', `SHA-256 ${sha256}`);
    yield* found.read(0, size);
  }

  async get(id: string): Promise<JobRecord | undefined> {
    return (await this.#starting).ledger.get(id);
  }

  /** Returns the number of jobs in each state. */
  async counts(): Promise<JobCounts> {
    return (await this.#starting).ledger.counts();
  }

  /** Cancels jobs, waiting or running; resolves with the ids of those that were not settled yet. */
  async cancel(...ids: string[]): Promise<string[]> {
    return (await this.#starting).service.cancel(ids);
  }

  /**
   * Makes failed and cancelled jobs wait again, with all their attempts, along with jobs that failed because of them; resolves with
   * the ids of the former.
   */
  async retry(...ids: string[]): Promise<string[]> {
    return (await this.#starting).ledger.retry(ids, this.#clock.now());
  }

  /** Returns the states of jobs by id; unknown ids are missing. */
  async states(ids: readonly string[]): Promise<ReadonlyMap<string, JobState>> {
    return (await this.#starting).ledger.states(ids);
  }

  /** Returns the workers that are connected now. */
  workers(): ConnectedWorker[] {
    return this.#service?.workers() ?? [];
  }

  /**
   * Stops handing out jobs, waits until the running jobs of its own Workers have ended, then closes. Does not wait for jobs that
   * other Masters handed out.
   */
  async drain(): Promise<void> {
    const { ledger, dispatch } = await this.#starting;
    dispatch.close();
    while (this.#closing === undefined && (await isBusy(ledger, dispatch, this.workers())))
      await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
    await this.close();
  }

  /** Closes at once; running jobs continue on their workers. Idempotent. */
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
        onWarning: (error) => this.emit('warning', error),
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

  /** From here on the Master accepts calls and hands out jobs. */
  async #open({ service, results, swarm, maintenance, files, renewal, foreign }: Parts): Promise<void> {
    this.#service = service;
    this.#maintenance = maintenance;
    service.watch((event) => {
      if (event.kind === 'progress') this.emit('progress', { id: event.id, worker: event.worker, progress: event.progress });
    });
    await this.#announce(results);
    const { http } = this.#options;
    if (http !== undefined) {
      this.#http = new HttpServer({ ...addressOf(http), ...(await this.#api(http, service)) });
      this.#url = (await this.#http.start()).url;
    }
    for (const one of foreign) await one.start();
    swarm.start();
    maintenance.start();
    files.start();
    renewal.start();
  }

  async #api(
    { serve = this.#options.serve, tokens, origins, authorize, identify }: EmbedOptions,
    service?: JobService,
  ): Promise<ApiOptions> {
    const engine = /^postgres/.test(this.#options.ledger ?? '') ? 'postgres' : 'sqlite';
    return {
      service: service ?? (await this.service),
      engine,
      dashboard: dashboardFolder,
      leasesExpired: () => this.#maintenance?.expired ?? 0,
      ...(serve !== undefined && { serve }),
      ...(tokens !== undefined && { tokens }),
      ...(origins !== undefined && { origins }),
      ...(authorize !== undefined && { authorize }),
      ...(identify !== undefined && { identify }),
    };
  }

  /** Emits an event for each settlement from now on. */
  async #announce(results: Results): Promise<void> {
    const { onResults } = this.#options;
    const after = (await this.#ledger?.lastSettled()) ?? 0;
    const follow = async () => {
      for await (const { job } of results.follow({ after })) {
        this.emit('settled', job);
        if (onResults === undefined) continue;
        const result = await this.#resultOf(job);
        this.guard('onResults', () => onResults(result));
      }
    };
    follow().catch((error: unknown) => this.#fail(asKnownError(error)));
  }

  async #resultOf(job: SettledJob): Promise<PushResult> {
    const pushed = pushedIdIn(job.id);
    const jobID = pushed === undefined ? job.id : pushed === 'unsaid' ? pushedIdOf((await this.#ledger?.get(job.id))?.data) : pushed.jobID;
    const { worker, ...rest } = job;
    return { ...rest, jobID, worker: worker === undefined ? undefined : { name: worker }, data: job.output };
  }

  async #close(): Promise<void> {
    const parts = await this.#starting.catch(() => undefined);
    await this.#http?.close();
    if (parts !== undefined) await closeParts(parts);
    await this.#ledger?.close();
  }

  protected override onListenerError(error: PeerworkError): void {
    this.#log.error(error.message, { code: error.code });
  }

  #fail(error: PeerworkError): void {
    if (this.#closing !== undefined) return;
    if (this.listenerCount('error') > 0) this.emit('error', error);
    else this.#log.error(error.message, { code: error.code });
  }
}

/** Whether jobs are still running. A database that is briefly unreachable says nothing about them, so it counts as busy. */
async function isBusy(ledger: Ledger, dispatch: Dispatch, linked: readonly ConnectedWorker[]): Promise<boolean> {
  try {
    return (await ledger.countLeased([...new Set([...dispatch.served, ...linked.map(({ id }) => id)])])) > 0;
  } catch (thrown) {
    if (thrown instanceof PeerworkError && thrown.code === 'ledger-away') return true;
    throw thrown;
  }
}

/** The listener's address, without access rules. */
function addressOf({ host, port, fallBack }: HttpOptions) {
  return { ...(host !== undefined && { host }), ...(port !== undefined && { port }), ...(fallBack !== undefined && { fallBack }) };
}

function isList(input: JobWithFiles | readonly JobWithFiles[]): input is readonly JobWithFiles[] {
  return Array.isArray(input);
}
