import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, pause } from '../clock.js';
import { DEFAULT_MEMORY_MB, DEFAULT_NETWORK, DEFAULT_SANDBOX } from '../config/defaults.js';
import { asPeerworkError, type PeerworkError } from '../errors.js';
import type { Runner } from '../job/runner.js';
import { Backoff, retry } from '../kit/backoff.js';
import { Wake } from '../kit/wake.js';
import type { Log } from '../log.js';
import type { RunnerSetup } from '../runners/setup.js';
import { TaskModuleRunner } from '../runners/task-module/task-module-runner.js';
import type { Home } from './home.js';
import { npmOf } from './open-workplaces.js';
import type { WorkerOptions } from './options.js';

/**
 * Delays before retrying a runner that could not be opened: a container engine may be started or installed after the Worker, or a
 * machine was too busy.
 */
const RETRY = { firstMs: 60_000, capMs: 15 * 60_000 };

export interface RunnersOptions {
  readonly worker: string;
  readonly concurrency: number;
  readonly home: Home;
  readonly options: WorkerOptions;
  readonly clock: Clock;
  readonly log: Log;
  /** Called when a runner other than that of task modules is ready. */
  readonly onJoin: () => void;
}

/**
 * A Worker's runners. All are opened concurrently on construction, and each joins when it is ready: probing a container engine
 * takes half a second or more, and no job for another runner should wait for that. One that cannot be opened is retried, eventually
 * every quarter of an hour.
 */
export class Runners {
  /** Resolves when task modules can run. Rejects with `sandbox-missing`. */
  readonly taskModules: Promise<void>;
  /** Resolves when all required runners are ready; rejects with the first one's error. */
  readonly required: Promise<void>;
  readonly #options: RunnersOptions;
  readonly #opened = new Map<string, Runner>();
  readonly #opening = new Map<string, Promise<void>>();
  readonly #attempted: Promise<unknown>;
  readonly #ending = new AbortController();
  readonly #joins = new Wake();
  #retries: readonly Promise<void>[] = [];
  #closing: Promise<void> | undefined;

  constructor(options: RunnersOptions) {
    this.#options = options;
    const setups = [taskModules(options.home, options.options), ...(options.options.runners ?? [])];
    for (const setup of setups) this.#opening.set(setup.kind, this.#open(setup));
    const required = setups.filter(({ required }) => required).map(({ kind }) => this.#opening.get(kind));
    this.taskModules = this.#opening.get(TASK_MODULE) ?? Promise.resolve();
    this.required = Promise.all(required).then(() => {});
    this.required.catch(() => {});
    this.#attempted = Promise.allSettled(setups.map(({ kind }) => this.#opening.get(kind))).then((results) => {
      const missing = setups.flatMap((setup, at): Missing[] => {
        const result = results[at];
        return setup.required || result?.status !== 'rejected' ? [] : [{ setup, error: asPeerworkError(result.reason) }];
      });
      this.#logMissing(missing);
      this.#retries = missing.map(({ setup }) => this.#retry(setup));
    });
  }

  /** The runners ready so far, by kind. */
  get ready(): ReadonlyMap<string, Runner> {
    return this.#opened;
  }

  /** Returns the runner of this kind, waiting for one that is still opening; undefined if this Worker has none. */
  async find(kind: string): Promise<Runner | undefined> {
    if (!this.#opened.has(kind)) await this.#opening.get(kind)?.catch(() => {});
    return this.#opened.get(kind);
  }

  /** Resolves once this Worker can run jobs of that kind, however late; never if it never can. */
  async joined(kind: string): Promise<void> {
    await this.#joins.until(() => this.#opened.has(kind));
  }

  /** Closes all runners; those still opening are closed as soon as they are ready. */
  close(): Promise<void> {
    this.#ending.abort();
    this.#closing ??= this.#attempted.then(async () => {
      await Promise.all(this.#retries);
      await Promise.all([...this.#opened.values()].map((runner) => runner.close()));
    });
    return this.#closing;
  }

  async #open({ kind, open }: RunnerSetup): Promise<void> {
    const { worker, concurrency, home, options, clock, log, onJoin } = this.#options;
    const { taskNetwork, memoryMb = DEFAULT_MEMORY_MB } = options;
    const folder = join(home.runners, kind);
    const own = log.with({ runner: kind });
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const network = taskNetwork !== undefined && { network: taskNetwork };
    const runner = await open({ worker, concurrency, memoryMb, folder, clock, log: own, npm: npmOf(options), ...network });
    this.#opened.set(kind, runner);
    this.#joins.wake();
    if (kind !== TASK_MODULE) onJoin();
  }

  async #retry(setup: RunnerSetup): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = this.#ending;
    const backoff = new Backoff(RETRY);
    await pause(clock, backoff.nextMs(), signal);
    if (signal.aborted) return;
    await retry(() => this.#open(setup), { clock, backoff, signal }).then(
      () => log.info(`jobs for ${setup.kind} are taken from now on`),
      () => {},
    );
  }

  /** Logs missing runners; kinds with the same reason share a line. */
  #logMissing(missing: readonly Missing[]): void {
    for (const message of new Set(missing.map(({ error }) => error.message))) {
      const shared = missing.filter(({ error }) => error.message === message);
      const kinds = shared.map(({ setup }) => setup.kind).sort();
      this.#options.log.info(`jobs for ${kinds.join(' and ')} are left to others: ${message}`, { code: shared[0]?.error.code });
    }
  }
}

/** A runner that could not be opened, and why. */
interface Missing {
  readonly setup: RunnerSetup;
  readonly error: PeerworkError;
}

/** The kind of runner that every Worker has. */
export const TASK_MODULE = 'task-module';

function taskModules(home: Home, { taskNetwork = DEFAULT_NETWORK, sandbox = DEFAULT_SANDBOX, bubblewrap }: WorkerOptions): RunnerSetup {
  return {
    kind: TASK_MODULE,
    required: true,
    open: ({ clock, log, concurrency, memoryMb }) =>
      TaskModuleRunner.start({
        ...{ clock, log, concurrency, memoryMb, scratchFolder: home.scratch, network: taskNetwork, sandbox },
        ...(bubblewrap !== undefined && { bubblewrap }),
      }),
  };
}
