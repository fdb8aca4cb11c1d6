import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../../clock.js';
import { DEFAULT_NETWORK } from '../../../config/defaults.js';
import { heldNetwork } from '../../../egress/policy.js';
import { asPeerworkError, PeerworkError } from '../../../errors.js';
import type { Job, Json, Outcome } from '../../../job/job.js';
import { VALUE_LIMITS } from '../../../job/limits.js';
import type { RunContext, Runner, Workplace } from '../../../job/runner.js';
import { orAborted, within } from '../../../kit/deadline.js';
import { formatJson, type JsonRefused, LOCAL_JSON, parseJson } from '../../../kit/json.js';
import { makeFolder } from '../../../kit/make-folder.js';
import type { RunnerContext, RunnerSetup } from '../../../runners/setup.js';
import { OomKills } from '../../../sandbox/oom-kills.js';
import { DEFAULT_ADAPTORS, DEFAULT_INSTALL_ADAPTORS, DEFAULT_RUN_MS, DEFAULT_STATE_PROPS_TO_REMOVE } from '../defaults.js';
import { LightningError } from '../errors.js';
import type { OpenfnEvent, OpenfnRun } from '../protocol.js';
import { type AdaptorPolicy, type AllowedSteps, allowedSteps, installAdaptor, whitelistOf } from './adaptors.js';
import { type Engine, loadEngine, type OpenEngine, START_MS } from './engine.js';
import { type RunEnd, runOnEngine } from './engine-run.js';

/** Settings of other runners that this one cannot enforce, refused so that nobody relies on them. `children` is enforced by the Master. */
const UNSUPPORTED = ['tunnel', 'network', 'process'] as const;

export interface OpenfnRunnerOptions {
  // generated from openfnRunner by `npm run generate`
  /** Adaptors that runs may use: names or `name@version`, with `*` for any characters. Default: `@openfn/*`. */
  readonly adaptors?: readonly string[];
  /** Install missing adaptors from npm, without install scripts. Default: `true`. */
  readonly installAdaptors?: boolean;
  /** Folder where adaptors are installed. Default: a folder in the Worker's `home`. */
  readonly adaptorFolder?: string;
  /** A clone of OpenFn’s adaptors: what a run calls `@openfn/language-x@local` is its `packages/x`. Default: no such adaptors. */
  readonly adaptorMonorepo?: string;
  /** Memory limit of a run, even if it requests more. Default: the Worker's `memoryMb`. */
  readonly memoryMb?: number;
  /** Time limit for runs that set none. Default: 300,000 ms. */
  readonly timeoutMs?: number;
  /** Properties removed from the state after each step. Default: `configuration`, `response`. */
  readonly statePropsToRemove?: readonly string[];
  // end
}

/** Runs OpenFn workflows. Where `@openfn/engine-multi` is not installed, the Worker works without this runner. */
export function openfnRunner(options: OpenfnRunnerOptions = {}): RunnerSetup {
  return { kind: 'openfn', open: (context) => OpenfnRunner.start(options, context) };
}

/** Errors after which the engine's process is not trusted with another run. */
const TAINTING_ERRORS: ReadonlySet<string | undefined> = new Set(['ExitError', 'OOMError', 'TimeoutError', 'ExecutionError']);

interface Settings {
  readonly clock: Clock;
  readonly policy: AdaptorPolicy;
  readonly memoryMb: number;
  readonly timeoutMs: number;
  readonly stop: AbortController;
}

/** An engine and the process in which it executes runs. */
interface EngineSlot {
  readonly engine: Engine;
  readonly pid: number | undefined;
}

/**
 * Workflow that tests a new engine. It has limits of its own, because those of runs may be tight and prove nothing about the engine (a
 * thread starts slowly on a busy machine).
 */
const TRIAL = {
  run: { id: 'trial', steps: [], input: {}, options: {} },
  steps: [{ id: 'trial', expression: 'export default [state => state]' }],
  timeoutMs: START_MS,
  memoryMb: 256,
};

/**
 * Runs workflows on `@openfn/engine-multi`. An engine is a process that starts a fresh thread for each run. There is one engine per
 * concurrent run; a warm engine is reused if its process is still alive, which the engine itself would not notice. A run is cancelled by
 * ending its engine, because the engine has no other way.
 */
export class OpenfnRunner implements Runner {
  readonly kind = 'openfn';
  readonly tier = 'process' as const;
  readonly isolation = 'a process with an empty environment, a thread a run; adaptors only as allowed; no sandbox, network not held';
  readonly #open: () => Promise<EngineSlot>;
  readonly #clock: Clock;
  readonly #policy: AdaptorPolicy;
  readonly #memoryMb: number;
  readonly #timeoutMs: number;
  readonly #stop: AbortController;
  readonly #oomKills = new OomKills();
  readonly #running = new Set<Promise<unknown>>();
  #idle: EngineSlot[];

  private constructor(open: () => Promise<EngineSlot>, first: EngineSlot, settings: Settings) {
    this.#open = open;
    this.#clock = settings.clock;
    this.#idle = [first];
    this.#policy = settings.policy;
    this.#memoryMb = settings.memoryMb;
    this.#timeoutMs = settings.timeoutMs;
    this.#stop = settings.stop;
  }

  /**
   * Rejects with `openfn-engine-missing` or `openfn-engine-broken`, or with `sandbox-missing` if the owner restricts the network of jobs.
   */
  static async start(options: OpenfnRunnerOptions, context: RunnerContext): Promise<OpenfnRunner> {
    // The engine starts its processes itself, so their network cannot be restricted, and adaptors exist to use the network.
    if (heldNetwork(context.network ?? DEFAULT_NETWORK) !== 'allow')
      throw new PeerworkError('sandbox-missing', 'the network of OpenFn runs cannot be held');
    const openEngine: OpenEngine = await loadEngine(context.clock);
    const repoDir = options.adaptorFolder ?? join(context.folder, 'adaptors');
    makeFolder(repoDir);
    const { adaptorMonorepo: monorepo } = options;
    const policy = {
      allowed: options.adaptors ?? DEFAULT_ADAPTORS,
      install: options.installAdaptors ?? DEFAULT_INSTALL_ADAPTORS,
      ...(monorepo !== undefined && { monorepo }),
    };
    const memoryMb = options.memoryMb ?? context.memoryMb;
    const timeoutMs = options.timeoutMs ?? DEFAULT_RUN_MS;
    const stop = new AbortController();
    const refuse = () => Promise.reject(new Error('it is not installed, and this worker installs nothing'));
    const open = async (): Promise<EngineSlot> => {
      const engine = await openEngine({
        repoDir,
        // Limit of the process; a run's own limit is set with the run.
        memoryLimitMb: Math.max(memoryMb, TRIAL.memoryMb),
        runTimeoutMs: timeoutMs,
        statePropsToRemove: options.statePropsToRemove ?? DEFAULT_STATE_PROPS_TO_REMOVE,
        autoinstall: policy.install
          ? { handleInstall: (specifier, folder) => installAdaptor(specifier, folder, stop.signal, context.npm ?? {}) }
          : { handleInstall: refuse, versionLookup: refuse },
      });
      engine.options.whitelist = whitelistOf(policy.allowed);
      let pid: number | undefined;
      const callbacks = { tell: () => {}, exchange: undefined, onProcess: (id: number) => (pid = id) };
      const end = await runOnEngine(engine, { ...TRIAL, ...callbacks, clock: context.clock });
      if (!('error' in end)) return { engine, pid };
      await engine.destroy(true);
      throw new LightningError('openfn-engine-broken', end.error.message);
    };
    return new OpenfnRunner(open, await open(), { clock: context.clock, policy, memoryMb, timeoutMs, stop });
  }

  async run(job: Job, context: RunContext): Promise<Outcome> {
    const signals = [context.signal, this.#stop.signal];
    const running = within({ signals }, (stop) => this.#run(job, context, stop)).catch(
      (thrown: unknown): Outcome => failed(asPeerworkError(thrown)),
    );
    this.#running.add(running);
    return running.finally(() => this.#running.delete(running));
  }

  #note(line: string): OpenfnEvent {
    return { event: 'log', at: `${this.#clock.wall()}000`, level: 'warn', source: 'RTE', message: [line] };
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#running);
    await Promise.all(this.#idle.splice(0).map(({ engine }) => engine.destroy(true)));
  }

  async #run(job: Job, context: RunContext, stop: AbortSignal): Promise<Outcome> {
    const { exchange } = context;
    const run = exchange === undefined ? await readRun(job, context.workplace) : ((await exchange.ask({ ask: 'run' })) as OpenfnRun);
    const tell = (event: OpenfnEvent) => {
      if (exchange !== undefined) exchange.tell(event);
      else if (event.event === 'log') context.report({ kind: 'log', stream: 'log', line: lineOf(event.message) });
    };
    if (stop.aborted) return STOPPED;
    let allowed: AllowedSteps;
    try {
      allowed = allowedSteps(run, this.#policy);
    } catch (thrown) {
      const error = { severity: 'crash', type: 'ImportError', message: thrown instanceof Error ? thrown.message : String(thrown) };
      tell({ event: 'failed', at: `${this.#clock.wall()}000`, error });
      return outcomeOf({ error }, { wantsOutput: exchange === undefined, memoryMb: this.#memoryMb });
    }
    const { steps, refused } = allowed;
    for (const adaptor of refused) tell(this.#note(`the owner of this worker does not allow ${adaptor}`));
    const { memoryMb: requested = this.#memoryMb } = run.options;
    const memoryMb = Math.min(requested, this.#memoryMb);
    if (memoryMb < requested)
      tell(this.#note(`the run asks for ${requested} MiB of memory, and has ${memoryMb}: the owner of this worker allows no more`));
    const timeoutMs = Math.min(run.options.timeoutMs ?? this.#timeoutMs, job.timeoutMs || Number.POSITIVE_INFINITY);
    const place = (await this.#takeIdle()) ?? (await this.#open());
    const { engine } = place;
    const end = await orAborted(runOnEngine(engine, { run, steps, tell, exchange, memoryMb, timeoutMs, clock: this.#clock }), stop);
    const tainted = end === undefined || ('error' in end && (TAINTING_ERRORS.has(end.error.type) || TAINTING_ERRORS.has(end.error.name)));
    if (tainted || this.#stop.signal.aborted) await engine.destroy(true);
    else this.#idle.push(place);
    const killed = end !== undefined && 'error' in end && end.error.type === 'ExitError' && this.#oomKills.more();
    if (killed) return failed(new PeerworkError('memory', `the system had none left, although the run may have ${memoryMb} MiB`));
    return end === undefined ? STOPPED : outcomeOf(end, { wantsOutput: exchange === undefined, memoryMb });
  }

  async #takeIdle(): Promise<EngineSlot | undefined> {
    for (let place = this.#idle.pop(); place !== undefined; place = this.#idle.pop()) {
      if (place.pid !== undefined && isAlive(place.pid)) return place;
      await place.engine.destroy(true);
    }
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

const STOPPED: Outcome = { state: 'released', reason: 'the worker stops' };

/** The source's exchange has already transferred the state. */
function outcomeOf(end: RunEnd, { wantsOutput, memoryMb }: { readonly wantsOutput: boolean; readonly memoryMb: number }): Outcome {
  if ('error' in end) {
    const { type, name, message } = end.error;
    if (type === 'OOMError' || name === 'OOMError') return failed(new PeerworkError('memory', `${memoryMb} MiB`));
    return failed(new LightningError('openfn-run-failed', `${type ?? name ?? 'Error'}: ${message}`));
  }
  if (!wantsOutput) return { state: 'completed', output: null };
  try {
    formatJson(end.state, VALUE_LIMITS);
    return { state: 'completed', output: end.state };
  } catch (thrown) {
    const { reason, message } = thrown as JsonRefused;
    return failed(new PeerworkError(reason === 'too-large' ? 'output-too-large' : 'output-unsendable', message));
  }
}

function failed({ code, message }: PeerworkError): Outcome {
  return { state: 'failed', error: { code, message }, retry: false };
}

function lineOf(message: readonly Json[]): string {
  return message.map((part) => (typeof part === 'string' ? part : JSON.stringify(part))).join(' ');
}

/**
 * Reads the run of a job whose source has no exchange: `task.json` with the job's data merged over it, in the shape of an OpenfnRun.
 * Rejects with `task-settings-invalid`.
 */
export async function readRun({ id, data }: Job, workplace: Workplace | undefined): Promise<OpenfnRun> {
  const task = workplace === undefined ? {} : await readTask(workplace);
  const run = { ...task, ...(isObject(data) && data) };
  const { steps } = run;
  if (!Array.isArray(steps) || steps.length === 0 || !steps.every((step: Json) => isObject(step) && typeof step['id'] === 'string'))
    throw new LightningError('openfn-run-failed', 'it has no steps, each with an id');
  return { options: {}, input: {}, ...run, id } as unknown as OpenfnRun;
}

async function readTask({ folder, entry }: Workplace): Promise<{ readonly [name: string]: Json }> {
  const task = parseJson(await readFile(join(folder, entry)), LOCAL_JSON) as Json;
  if (!isObject(task)) throw new PeerworkError('task-settings-invalid', `${entry}: it is not an object`);
  for (const name of UNSUPPORTED)
    if (task[name] !== undefined)
      throw new PeerworkError('task-settings-invalid', `${entry}: ${name}: the runner openfn has no such setting`);
  return task;
}

function isObject(value: Json): value is { readonly [name: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
