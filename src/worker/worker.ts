import { EventEmitter } from 'node:events';
import { availableParallelism, hostname } from 'node:os';
import { type Clock, systemClock } from '../clock.js';
import { asPeerworkError, PeerworkError } from '../errors.js';
import type { Outcome } from '../job/job.js';
import type { Runner } from '../job/runner.js';
import { type Log, logToStderr } from '../log.js';
import { TaskModuleRunner } from '../runners/task-module/task-module-runner.js';
import { MasterSource } from '../sources/master/master-source.js';
import { Outbox } from '../sources/outbox.js';
import { identityId, type KeyPair } from '../swarm/identity.js';
import { loadOrCreateKeyFile } from '../swarm/key-file.node.js';
import { nodePlatform } from '../swarm/platform.node.js';
import { parseToken, type Token } from '../swarm/token.js';
import { WorkerSwarm } from '../swarm/worker-swarm.js';
import type { Workplaces } from '../task/workplace.js';
import { version } from '../version.js';
import { Capacity } from './capacity.js';
import { execute } from './execute.js';
import { DEFAULT_HOME, type Home, takeHome } from './home.js';
import { openWorkplaces } from './open-workplaces.js';
import type { WorkerEvents, WorkerOptions, WorkerStatus } from './options.js';
import { WorkLoop } from './work-loop.js';

const DEFAULT_MEMORY_MB = 512;
const DEFAULT_DRAIN_MS = 60_000;
/** How long a drain waits for the Master to acknowledge what is in the outbox; the rest is delivered at the next start. */
const FLUSH_MS = 5_000;
const GIVE_BACK_MS = 1_000;

interface Parts {
  readonly home: Home;
  readonly runner: Runner;
  readonly source: MasterSource;
  readonly outbox: Outbox;
  readonly loop: WorkLoop;
  readonly workplaces: Workplaces;
}

/**
 * Finds its Master, does its jobs, and gives back the results, for as long as it lives.
 *
 * It starts when it is made; `ready` resolves when it has joined its Master for the first time and rejects if it cannot start. `drain`
 * finishes or gives back what it holds and flushes the outbox; `close` gives everything back at once.
 */
export class Worker extends EventEmitter<WorkerEvents> {
  readonly ready: Promise<void>;
  readonly name: string;
  readonly #options: WorkerOptions;
  readonly #token: Token;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #concurrency: number;
  readonly #ended = { completed: 0, failed: 0, released: 0 };
  readonly #starting: Promise<Parts>;
  #parts: Parts | undefined;
  #closing: Promise<void> | undefined;

  /** Throws a `token-…` error if the token cannot be used. */
  constructor(options: string | WorkerOptions) {
    super();
    this.#options = typeof options === 'string' ? { token: options } : options;
    if (!this.#options.token) throw new PeerworkError('token-missing');
    this.#token = parseToken(this.#options.token);
    this.name = this.#options.name ?? hostname();
    this.#clock = this.#options.clock ?? systemClock;
    this.#log = this.#options.log ?? logToStderr(this.#options.loglevel ?? 'warn');
    this.#concurrency = this.#options.concurrency ?? availableParallelism();
    this.#starting = this.#start();
    const joined = new Promise<void>((resolve) => this.once('connected', () => resolve()));
    this.ready = this.#starting.then(() => joined);
    this.ready.catch((error: unknown) => this.#fail(asPeerworkError(error)));
  }

  status(): WorkerStatus {
    const { source, runner, loop, outbox } = this.#parts ?? {};
    const master = source?.master;
    return {
      name: this.name,
      master: master && { name: master.name, path: master.peer.path, roundTripMs: master.peer.rpc.roundTripMs },
      running: Math.min(loop?.running ?? 0, this.#concurrency),
      concurrency: this.#concurrency,
      ...this.#ended,
      outbox: outbox?.size ?? 0,
      isolation: runner?.isolation ?? '',
      traffic: master?.peer.rpc.traffic ?? { sent: 0, received: 0 },
    };
  }

  /** Takes no more jobs, finishes what runs (or gives it back after `drainMs`), delivers what is in the outbox, then closes. */
  async drain(): Promise<void> {
    const parts = await this.#starting;
    await parts.loop.drain(this.#options.drainMs ?? DEFAULT_DRAIN_MS);
    await parts.source.flush(AbortSignal.timeout(FLUSH_MS));
    await this.close();
  }

  /** Gives everything back and ends at once. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #start(): Promise<Parts> {
    const shared = { clock: this.#clock, log: this.#log };
    const home = await takeHome(this.#options.home ?? DEFAULT_HOME);
    // Finds out how this machine can isolate; meanwhile we look for the Master.
    const starting = TaskModuleRunner.start({
      ...shared,
      concurrency: this.#concurrency,
      memoryMb: this.#options.memoryMb ?? DEFAULT_MEMORY_MB,
      scratchFolder: home.scratch,
      network: this.#options.taskNetwork ?? 'allow',
      sandbox: this.#options.sandbox ?? 'auto',
    });
    let source: MasterSource | undefined;
    try {
      const { keyPair, secret } = loadOrCreateKeyFile(home.keyFile);
      const outbox = await Outbox.open({ ...shared, folder: home.outbox, key: secret });
      source = this.#joinMaster(keyPair, outbox);
      source.start();
      const workplaces = openWorkplaces(home, this.#options, shared, (synced) => this.emit('synced', synced));
      const runner = await starting;
      const publisher = identityId(this.#token.publicKey);
      const runners = new Map([[runner.kind, runner]]);
      const loop = new WorkLoop({
        clock: this.#clock,
        source,
        capacity: new Capacity(this.#concurrency, () => this.#clock.now()),
        execute: (lease, stop) =>
          execute(
            { runners, clock: this.#clock, prepare: (origin, signal) => workplaces.prepare(origin, { publisher, signal }) },
            lease,
            stop,
          ),
        onStart: ({ job }) => this.emit('job', { id: job.id, channel: job.channel, attempt: job.attempt }),
        onEnd: ({ job }, outcome, ms) => this.#count(job.id, outcome, ms),
      });
      loop.stopped.addEventListener('abort', () => void Promise.all([workplaces.close(), runner.close()]));
      this.#parts = { home, runner, source, outbox, loop, workplaces };
      loop.start();
      return this.#parts;
    } catch (error) {
      await starting.then(
        (runner) => runner.close(),
        () => {},
      );
      await source?.close();
      await home.release();
      throw error;
    }
  }

  /** Those of the machine, and those that the owner gave it. */
  get #labels(): readonly string[] {
    return [...new Set([`os=${process.platform}`, `arch=${process.arch}`, ...(this.#options.labels ?? [])])];
  }

  #joinMaster(identity: KeyPair, outbox: Outbox): MasterSource {
    const { transferEncryptToken, trackers, ice } = this.#options;
    const source = new MasterSource({
      clock: this.#clock,
      log: this.#log,
      outbox,
      facts: async () => {
        const { isolation } = (await this.#starting).runner;
        const platform = `${process.platform} ${process.arch}`;
        return { version, concurrency: this.#concurrency, isolation, platform, labels: this.#labels };
      },
      join: (accept) =>
        new WorkerSwarm({
          token: this.#token,
          identity,
          name: this.name,
          platform: nodePlatform(),
          clock: this.#clock,
          log: this.#log,
          ...(transferEncryptToken === undefined ? {} : { transferSecret: transferEncryptToken }),
          ...(trackers === undefined ? {} : { trackers }),
          ...(ice === undefined ? {} : { ice }),
          accept,
        }),
    });
    source.on('connected', ({ name, peer }) => this.emit('connected', { id: peer.id, name, path: peer.path, connectMs: peer.connectMs }));
    source.on('disconnected', (error) => this.emit('disconnected', error));
    source.on('trouble', (error) => this.emit('trouble', error));
    return source;
  }

  #count(id: string, outcome: Outcome, ms: number): void {
    this.#ended[outcome.state] += 1;
    this.emit('result', { id, state: outcome.state, ms, ...(outcome.state === 'failed' && { code: outcome.error.code }) });
  }

  async #close(): Promise<void> {
    const parts = await this.#starting.catch(() => undefined);
    if (parts === undefined) return;
    await parts.loop.close();
    // What was given back should reach others now, not when its lease ends.
    if (parts.source.master !== undefined) await parts.source.flush(AbortSignal.timeout(GIVE_BACK_MS));
    await parts.source.close();
    await parts.runner.close();
    await parts.workplaces.close();
    await parts.home.release();
  }

  #fail(error: PeerworkError): void {
    if (this.#closing !== undefined) return;
    this.#log.error(error.message, { code: error.code });
    if (this.listenerCount('error') > 0) this.emit('error', error);
  }
}
