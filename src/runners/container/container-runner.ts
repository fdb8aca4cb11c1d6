import { randomBytes } from 'node:crypto';
import { mkdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../clock.js';
import { ContainerEngine } from '../../containers/container-engine.js';
import { type ContainerOptions, engineOptions, logQuotaBytes } from '../../containers/owner-options.js';
import { type KeptRun, RunLogs } from '../../containers/run-logs.js';
import { asPeerworkError, type ErrorCode, PeerworkError } from '../../errors.js';
import type { Job, Outcome } from '../../job/job.js';
import { jobErrorOf } from '../../job/job-error.js';
import type { RunContext, Runner } from '../../job/runner.js';
import { Clearing } from '../../kit/clearing.js';
import { Deadline } from '../../kit/deadline.js';
import type { Log } from '../../log.js';
import type { RunnerContext, RunnerSetup } from '../setup.js';
import { ContainerRun } from './container-run.js';

export interface ContainerRunnerOptions extends ContainerOptions {
  // generated from containerRunnerConstructor by `npm run generate`
  /** Without a container engine the Worker does not start. By default it works without these jobs and logs the reason. Default: `false`. */
  readonly required?: boolean;
  // end
}

/** Codes with which another attempt would fail the same way, here and elsewhere. */
const final: ReadonlySet<string> = new Set<ErrorCode>(['container-invalid', 'cancelled']);

/** Lets a Worker run container jobs if it has docker or podman. */
export function containerRunner(options: ContainerRunnerOptions = {}): RunnerSetup {
  return { kind: 'container', required: options.required ?? false, open: (context) => ContainerRunner.open(options, context) };
}

interface Parts {
  readonly engine: ContainerEngine;
  readonly jobs: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly leftovers: Clearing;
  readonly logs: RunLogs;
}

/** Runs each job in a container of its own. */
export class ContainerRunner implements Runner {
  readonly kind = 'container';
  readonly queues = true;
  readonly isolation: string;
  readonly tier = 'container' as const;
  readonly #engine: ContainerEngine;
  readonly #jobs: string;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #leftovers: Clearing;
  readonly #logs: RunLogs;
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<Outcome>>();

  private constructor({ engine, jobs, clock, log, leftovers, logs }: Parts) {
    this.isolation = engine.isolation;
    this.#engine = engine;
    this.#jobs = jobs;
    this.#clock = clock;
    this.#log = log;
    this.#leftovers = leftovers;
    this.#logs = logs;
  }

  /** Rejects with `engine-missing`. */
  static async open(options: ContainerOptions, context: RunnerContext): Promise<ContainerRunner> {
    const engine = await ContainerEngine.open(engineOptions(options, context));
    const jobs = join(await realpath(context.folder), 'jobs');
    await mkdir(jobs, { recursive: true, mode: 0o700 });
    // Job folders of a killed worker; the engine has removed its containers already.
    const leftovers = new Clearing(context.log, context.clock);
    await leftovers.sweep(jobs, () => true);
    const { clock, log } = context;
    const logs = await RunLogs.open({
      folder: join(context.folder, 'logs'),
      kind: 'container',
      quotaBytes: logQuotaBytes(options),
      clock,
      log,
    });
    return new ContainerRunner({ ...context, engine, jobs, leftovers, logs });
  }

  run(job: Job, context: RunContext): Promise<Outcome> {
    const run = this.#logs
      .keep(job, context.report, (kept) => this.#run(job, { ...context, report: kept.report }, kept))
      .finally(() => this.#running.delete(run));
    this.#running.add(run);
    return run;
  }

  /** Stops every container. Jobs that are still running are released. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#running);
    await Promise.all([this.#engine.close(), this.#leftovers.close(), this.#logs.close()]);
  }

  async #run(job: Job, context: RunContext, { learn }: KeptRun): Promise<Outcome> {
    const run = new ContainerRun({ engine: this.#engine, clock: this.#clock, log: this.#log, learn }, job, context);
    const either = new Deadline({ signals: [context.signal, this.#closing.signal] });
    const stopped = either.signal;
    try {
      const folder = join(this.#jobs, randomBytes(8).toString('hex'));
      return { state: 'completed', output: await run.perform(folder, stopped) };
    } catch (thrown) {
      if (this.#closing.signal.aborted) return { state: 'released', reason: 'the worker stopped' };
      const fault = stopped.aborted ? new PeerworkError('cancelled') : asPeerworkError(thrown, 'engine-failed');
      const { code } = fault;
      const { exitCode } = run;
      const error = { ...jobErrorOf(fault), ...(exitCode !== undefined && { exitCode }) };
      // Nobody needs the output of a cancelled job.
      const output = code === 'cancelled' ? undefined : await run.partialOutput();
      return { state: 'failed', error, retry: !final.has(code), ...(output !== undefined && { output }) };
    } finally {
      either.end();
      run.release();
    }
  }
}
