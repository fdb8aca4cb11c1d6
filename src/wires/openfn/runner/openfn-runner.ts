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
import { DEFAULT_INSTALL_ADAPTORS, DEFAULT_RUN_MS } from '../defaults.js';
import { LightningError } from '../errors.js';
import type { OpenfnEvent, OpenfnRun } from '../protocol.js';
import { type AdaptorPolicy, type AllowedSteps, allowedSteps, installAdaptor, whitelistOf } from './adaptors.js';
import { type Engine, loadEngine, type OpenEngine, START_MS } from './engine.js';
import { type RunEnd, runOnEngine } from './engine-run.js';

/** Settings of other runners that mean nothing to a workflow: nobody shall believe that they hold. `children` is its Master's business. */
const NOT_HERE = ['tunnel', 'network', 'process'] as const;

export interface OpenfnRunnerOptions {
  /** Which adaptors runs may use: names or specifiers, `*` for any characters. Default `@openfn/*`. */
  readonly adaptors?: readonly string[];
  /** May adaptors that are missing be installed, from npm and without install scripts? Default true. */
  readonly installAdaptors?: boolean;
  /** Where adaptors lie; default: a folder of the Worker's own. */
  readonly adaptorFolder?: string;
  /** A clone of OpenFn's adaptors: a run's `@openfn/language-x@local` is its `packages/x`. Default: no such adaptors. */
  readonly adaptorMonorepo?: string;
  /** The most memory that a run gets, in MiB; default: the Worker's for any job. */
  readonly memoryMb?: number;
  /** Wall time of runs that do not say, default 300 000 ms. */
  readonly timeoutMs?: number;
  /** Members that are taken out of the state after each step; default `configuration` and `response`. */
  readonly statePropsToRemove?: readonly string[];
}

/** Runs OpenFn workflows. The Worker works without it where `@openfn/engine-multi` is not installed. */
export function openfnRunner(options: OpenfnRunnerOptions = {}): RunnerSetup {
  return { kind: 'openfn', open: (context) => OpenfnRunner.start(options, context) };
}

/** After these the engine's process is not trusted with another run. */
const SPOILED: ReadonlySet<string | undefined> = new Set(['ExitError', 'OOMError', 'TimeoutError', 'ExecutionError']);

interface Settings {
  readonly clock: Clock;
  readonly policy: AdaptorPolicy;
  readonly memoryMb: number;
  readonly timeoutMs: number;
  readonly stop: AbortController;
}

/** An engine, and the process that it does its runs in. */
interface Place {
  readonly engine: Engine;
  readonly pid: number | undefined;
}

/**
 * What a new engine is tried with. Its limits are its own: those of runs, which may be tight, say nothing about whether the engine works
 * (a thread takes its time to start on a busy machine).
 */
const TRIAL = {
  run: { id: 'trial', steps: [], input: {}, options: {} },
  steps: [{ id: 'trial', expression: 'export default [state => state]' }],
  timeoutMs: START_MS,
  memoryMb: 256,
};

/**
 * Runs workflows on `@openfn/engine-multi`. An engine is a process that makes a fresh thread for each run; there is one for each run that
 * goes on at once, and a warm one is used again, if its process still lives: the engine itself would not notice. A run is cancelled by
 * ending its engine, as the engine knows no other way.
 */
export class OpenfnRunner implements Runner {
  readonly kind = 'openfn';
  readonly tier = 'process' as const;
  readonly isolation = 'a process with an empty environment, a thread a run; adaptors only as allowed; no sandbox, network not held';
  readonly #open: () => Promise<Place>;
  readonly #clock: Clock;
  readonly #policy: AdaptorPolicy;
  readonly #memoryMb: number;
  readonly #timeoutMs: number;
  readonly #stop: AbortController;
  readonly #oomKills = new OomKills();
  readonly #running = new Set<Promise<unknown>>();
  #idle: Place[];

  private constructor(open: () => Promise<Place>, first: Place, settings: Settings) {
    this.#open = open;
    this.#clock = settings.clock;
    this.#idle = [first];
    this.#policy = settings.policy;
    this.#memoryMb = settings.memoryMb;
    this.#timeoutMs = settings.timeoutMs;
    this.#stop = settings.stop;
  }

  /** Rejects with `openfn-engine-missing` or `openfn-engine-broken`, and with `sandbox-missing` where the owner allows jobs less than the internet. */
  static async start(options: OpenfnRunnerOptions, context: RunnerContext): Promise<OpenfnRunner> {
    // The engine starts its processes itself, and their adaptors are there for their network.
    if (heldNetwork(context.network ?? DEFAULT_NETWORK) !== 'allow')
      throw new PeerworkError('sandbox-missing', 'the network of OpenFn runs cannot be held');
    const openEngine: OpenEngine = await loadEngine(context.clock);
    const repoDir = options.adaptorFolder ?? join(context.folder, 'adaptors');
    makeFolder(repoDir);
    const { adaptorMonorepo: monorepo } = options;
    const policy = {
      allowed: options.adaptors ?? ['@openfn/*'],
      install: options.installAdaptors ?? DEFAULT_INSTALL_ADAPTORS,
      ...(monorepo !== undefined && { monorepo }),
    };
    const memoryMb = options.memoryMb ?? context.memoryMb;
    const timeoutMs = options.timeoutMs ?? DEFAULT_RUN_MS;
    const stop = new AbortController();
    const refuse = () => Promise.reject(new Error('it is not installed, and this worker installs nothing'));
    const open = async (): Promise<Place> => {
      const engine = await openEngine({
        repoDir,
        // Of its process; a run's own limit is set with the run.
        memoryLimitMb: Math.max(memoryMb, TRIAL.memoryMb),
        runTimeoutMs: timeoutMs,
        statePropsToRemove: options.statePropsToRemove ?? ['configuration', 'response'],
        autoinstall: policy.install
          ? { handleInstall: (specifier, folder) => installAdaptor(specifier, folder, stop.signal, context.npm ?? {}) }
          : { handleInstall: refuse, versionLookup: refuse },
      });
      engine.options.whitelist = whitelistOf(policy.allowed);
      let pid: number | undefined;
      const told = { tell: () => {}, exchange: undefined, onProcess: (id: number) => (pid = id) };
      const end = await runOnEngine(engine, { ...TRIAL, ...told, clock: context.clock });
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
    const { memoryMb: wanted = this.#memoryMb } = run.options;
    const memoryMb = Math.min(wanted, this.#memoryMb);
    if (memoryMb < wanted)
      tell(this.#note(`the run asks for ${wanted} MiB of memory, and has ${memoryMb}: the owner of this worker allows no more`));
    const timeoutMs = Math.min(run.options.timeoutMs ?? this.#timeoutMs, job.timeoutMs || Number.POSITIVE_INFINITY);
    const place = (await this.#takeIdle()) ?? (await this.#open());
    const { engine } = place;
    const end = await orAborted(runOnEngine(engine, { run, steps, tell, exchange, memoryMb, timeoutMs, clock: this.#clock }), stop);
    const spoiled = end === undefined || ('error' in end && (SPOILED.has(end.error.type) || SPOILED.has(end.error.name)));
    if (spoiled || this.#stop.signal.aborted) await engine.destroy(true);
    else this.#idle.push(place);
    const killed = end !== undefined && 'error' in end && end.error.type === 'ExitError' && this.#oomKills.more();
    if (killed) return failed(new PeerworkError('memory', `the system had none left, although the run may have ${memoryMb} MiB`));
    return end === undefined ? STOPPED : outcomeOf(end, { wantsOutput: exchange === undefined, memoryMb });
  }

  async #takeIdle(): Promise<Place | undefined> {
    for (let place = this.#idle.pop(); place !== undefined; place = this.#idle.pop()) {
      if (place.pid !== undefined && lives(place.pid)) return place;
      await place.engine.destroy(true);
    }
    return undefined;
  }
}

function lives(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

const STOPPED: Outcome = { state: 'released', reason: 'the worker stops' };

/** A source with an exchange has had the state already. */
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

/** Of a job whose source has no exchange: `task.json` and above it the job's data, in the shape of an OpenfnRun. Rejects with `task-settings-invalid`. */
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
  for (const name of NOT_HERE)
    if (task[name] !== undefined)
      throw new PeerworkError('task-settings-invalid', `${entry}: ${name}: the runner openfn has no such setting`);
  return task;
}

function isObject(value: Json): value is { readonly [name: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
