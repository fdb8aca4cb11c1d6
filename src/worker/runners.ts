import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../clock.js';
import { asPeerworkError, type ErrorCode } from '../errors.js';
import type { Runner } from '../job/runner.js';
import type { Log } from '../log.js';
import type { RunnerSetup } from '../runners/setup.js';
import { TaskModuleRunner } from '../runners/task-module/task-module-runner.js';
import type { Home } from './home.js';
import { npmOf } from './open-workplaces.js';
import type { WorkerOptions } from './options.js';

const DEFAULT_MEMORY_MB = 512;

export interface RunnersOptions {
  readonly worker: string;
  readonly concurrency: number;
  readonly home: Home;
  readonly options: WorkerOptions;
  readonly clock: Clock;
  readonly log: Log;
  /** One more is ready, besides that of task modules. */
  readonly onJoin: () => void;
}

/**
 * The ways in which a Worker can run jobs. All are opened at once when it is made, and each joins when it is ready: finding out about a container engine
 * takes half a second or more, and no job for another runner waits for that.
 */
export class Runners {
  /** Resolves when task modules can be run. Rejects with `sandbox-missing`. */
  readonly taskModules: Promise<void>;
  /** Resolves when all are there that the owner demands; rejects with what the first of them rejected with. */
  readonly required: Promise<void>;
  readonly #options: RunnersOptions;
  readonly #opened = new Map<string, Runner>();
  readonly #opening = new Map<string, Promise<void>>();
  /** By the reason, which several kinds may share. */
  readonly #missing = new Map<string, { readonly code: ErrorCode; readonly kinds: readonly string[] }>();
  readonly #tried: Promise<unknown>;
  #closing: Promise<void> | undefined;

  constructor(options: RunnersOptions) {
    this.#options = options;
    const setups = [taskModules(options.home, options.options), ...(options.options.runners ?? [])];
    for (const setup of setups) this.#opening.set(setup.kind, this.#open(setup));
    const required = setups.filter(({ required }) => required).map(({ kind }) => this.#opening.get(kind));
    this.taskModules = this.#opening.get(TASK_MODULE) ?? Promise.resolve();
    this.required = Promise.all(required).then(() => {});
    this.required.catch(() => {});
    this.#tried = Promise.allSettled(this.#opening.values()).then(() => this.#tellMissing());
  }

  /** Those that are there by now, by kind. */
  get ready(): ReadonlyMap<string, Runner> {
    return this.#opened;
  }

  /** Waits for one that is on its way; undefined if this Worker has none of that kind. */
  async find(kind: string): Promise<Runner | undefined> {
    if (!this.#opened.has(kind)) await this.#opening.get(kind)?.catch(() => {});
    return this.#opened.get(kind);
  }

  /** Those that are on their way are closed as soon as they are there. */
  close(): Promise<void> {
    this.#closing ??= this.#tried.then(async () => {
      await Promise.all([...this.#opened.values()].map((runner) => runner.close()));
    });
    return this.#closing;
  }

  async #open({ kind, required = false, open }: RunnerSetup): Promise<void> {
    const { worker, concurrency, home, options, clock, log, onJoin } = this.#options;
    const { taskNetwork, memoryMb = DEFAULT_MEMORY_MB } = options;
    const folder = join(home.runners, kind);
    const own = log.with({ runner: kind });
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const network = taskNetwork !== undefined && { network: taskNetwork };
      const runner = await open({ worker, concurrency, memoryMb, folder, clock, log: own, npm: npmOf(options), ...network });
      this.#opened.set(kind, runner);
      if (kind !== TASK_MODULE) onJoin();
    } catch (thrown) {
      if (required) throw thrown;
      const { message, code } = asPeerworkError(thrown);
      this.#missing.set(message, { code, kinds: [...(this.#missing.get(message)?.kinds ?? []), kind] });
    }
  }

  #tellMissing(): void {
    for (const [message, { code, kinds }] of this.#missing)
      this.#options.log.info(`jobs for ${kinds.join(' and ')} are left to others: ${message}`, { code });
  }
}

/** Every Worker has this one. */
export const TASK_MODULE = 'task-module';

function taskModules(home: Home, { taskNetwork = 'internet', sandbox = 'auto', bubblewrap }: WorkerOptions): RunnerSetup {
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
