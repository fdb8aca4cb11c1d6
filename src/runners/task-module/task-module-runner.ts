import { mkdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, systemClock, type Timer } from '../../clock.js';
import { DEFAULT_NETWORK, DEFAULT_SANDBOX } from '../../config/defaults.js';
import { PublicInternet } from '../../egress/addresses.js';
import { ceilingOf, heldNetwork, type NetworkCeiling } from '../../egress/policy.js';
import { type AnyErrorCode, asPeerworkError } from '../../errors.js';
import type { Job, Outcome } from '../../job/job.js';
import type { IsolationTier, RunContext, Runner, Workplace } from '../../job/runner.js';
import { Clearing } from '../../kit/clearing.js';
import { unfinishedName } from '../../kit/whole-file.js';
import { type Log, silentLog } from '../../log.js';
import { OomKills } from '../../sandbox/oom-kills.js';
import { findSandbox, findTool, type Sandbox } from '../../sandbox/sandbox.js';
import { openTunnelPort } from '../tunnel-port.js';
import type { TunnelAddress } from './child/wire.js';
import type { ChildHost, Unloadable } from './child-host.js';
import { TaskChild } from './child-process.js';
import { Lane, STUCK_MS } from './lane.js';
import type { TaskModuleOptions } from './options.js';
import { outcomeWithFiles } from './out-files.js';
import { Run } from './run.js';
import { Watch } from './watch.js';

type Given = 'concurrency' | 'memoryMb' | 'scratchFolder' | 'warmMs' | 'network' | 'internet' | 'log' | 'clock';

interface Parts extends Required<Pick<TaskModuleOptions, Given>> {
  readonly sandbox: Sandbox;
  readonly leftovers: Clearing;
  readonly watch: Watch;
}

const DEFAULT_MEMORY_MB = 256;
const DEFAULT_SCRATCH_MB = 1_024;
const DEFAULT_WARM_MS = 30_000;
const TICK_MS = 50;
const IDLE_TICK_MS = 1_000;
/** A tick this late means that the machine was suspended, or its clock was set. */
const MAX_GAP_MS = 5_000;
/** Children that die silently before their first job, until the task is blamed. */
const MAX_STARTUP_CRASHES = 3;

/**
 * Runs task modules in a warm pool of child processes, at most `concurrency` of them, each for one version of one task.
 *
 * Jobs wait in the lane of their task until a child is idle. While jobs are short, a busy child may queue several ahead, which then share
 * a message without a round trip each. Whatever a child does ends in an outcome of the running job; the jobs behind it move to another
 * child.
 */
export class TaskModuleRunner implements Runner {
  readonly kind = 'task-module';
  readonly queues = true;
  readonly isolation: string;
  readonly tier: IsolationTier;
  readonly #concurrency: number;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #warmMs: number;
  readonly #ceiling: NetworkCeiling;
  readonly #host: ChildHost<TaskChild>;
  readonly #watch: Watch;
  readonly #lanes = new Map<string, Lane>();
  #newest: Lane | undefined;
  #children = 0;
  #timer: Timer | undefined;
  #tickDueAt = 0;
  #closed = false;

  /** Detects the isolation available on this machine. Rejects with `sandbox-missing`. */
  static async start(options: TaskModuleOptions): Promise<TaskModuleRunner> {
    const {
      memoryMb = DEFAULT_MEMORY_MB,
      scratchMb = DEFAULT_SCRATCH_MB,
      sandbox = DEFAULT_SANDBOX,
      network = DEFAULT_NETWORK,
      internet = new PublicInternet(),
      clock = systemClock,
    } = options;
    const limits = { memoryBytes: memoryMb * 1024 * 1024, scratchBytes: scratchMb * 1024 * 1024 };
    await mkdir(options.scratchFolder, { recursive: true, mode: 0o700 });
    const folder = await realpath(options.scratchFolder);
    const bubblewrap = options.bubblewrap ?? findTool('bwrap');
    const { scratchBytes } = limits;
    const found = await findSandbox({ sandbox, network: heldNetwork(network), memoryMb, scratchBytes, bubblewrap, folder });
    const scratchFolder = join(folder, unfinishedName('jobs'));
    await mkdir(scratchFolder, { mode: 0o700 });
    const { concurrency, log = silentLog, warmMs = DEFAULT_WARM_MS } = options;
    const leftovers = new Clearing(log, clock);
    await leftovers.sweep(options.scratchFolder);
    if (found.tier === 'process')
      log.warn('no sandbox: malicious task code can do anything this user can', { isolation: found.line, hint: found.remedy });
    else log.info('jobs are isolated', { by: found.line });
    const watch = new Watch(limits, clock);
    const parts = { concurrency, log, clock, memoryMb, scratchFolder, leftovers, watch, warmMs };
    return new TaskModuleRunner({ ...parts, sandbox: found, network, internet });
  }

  private constructor({ concurrency, log, clock, sandbox, memoryMb, scratchFolder, leftovers, watch, warmMs, network, internet }: Parts) {
    this.#ceiling = ceilingOf(network);
    this.isolation = sandbox.line;
    this.tier = sandbox.tier;
    this.#log = log;
    this.#warmMs = warmMs;
    this.#concurrency = concurrency;
    this.#clock = clock;
    this.#watch = watch;
    this.#host = {
      ...{ sandbox, memoryMb, internet, scratchFolder, clock, leftovers },
      oomKills: new OomKills(),
      ready: (child) => this.#ready(child),
      freed: (child, tookMs) => this.#freed(child, tookMs),
      returned: (child, runs) => this.#returned(child, runs),
      ended: (child, unloadable) => this.#ended(child, unloadable),
    };
  }

  async run(job: Job, context: RunContext): Promise<Outcome> {
    const { workplace, tunnel } = context;
    if (workplace === undefined) return refused('task-unloadable', 'no workplace was given');
    let lane: Lane;
    try {
      lane = this.#lane(workplace);
    } catch (error) {
      const { code, message } = asPeerworkError(error, 'task-unloadable');
      return refused(code, message);
    }
    const { tier } = this.#host.sandbox;
    // In bubblewrap a tunnel uses the same way out as all connections.
    if (tunnel === undefined || tier === 'bwrap' || lane.policy.mode === 'none') return this.#run(job, context, lane, undefined);
    const onError = ({ message }: Error) => context.report({ kind: 'log', stream: 'stderr', line: message });
    const port = await openTunnelPort(tunnel, { onError });
    try {
      return await this.#run(job, context, lane, { host: port.host, port: port.port });
    } finally {
      await port.close();
    }
  }

  #run(job: Job, context: RunContext, lane: Lane, tunnel: TunnelAddress | undefined): Promise<Outcome> {
    if (lane.narrows && this.#host.sandbox.tier === 'process')
      context.report({
        kind: 'log',
        stream: 'log',
        line: 'this worker cannot hold what task.json says of the network: it has no bubblewrap',
      });
    const run = new Run(job, context, tunnel, (aborted) => this.#cancel(lane, aborted));
    if (this.#closed) run.stop('closed');
    else if (context.signal.aborted) run.stop('cancelled');
    else {
      lane.push(run, this.#clock.now());
      this.#fill(lane);
    }
    return outcomeWithFiles(run, context, this.#host.leftovers);
  }

  #lane(workplace: Workplace): Lane {
    let lane = this.#lanes.get(workplace.digest);
    if (lane === undefined) {
      lane = new Lane(workplace, this.#ceiling);
      for (const old of this.#lanes.values()) if (old.empty) this.#lanes.delete(old.digest);
      this.#lanes.set(workplace.digest, lane);
    }
    this.#newest = lane;
    return lane;
  }

  #ready(child: TaskChild): void {
    const lane = this.#laneOf(child);
    if (lane !== undefined) lane.startupCrashes = 0;
    // Before the process can be taken away again: on a slow machine the waiting time of others expires while it starts.
    const run = this.#mayRunOneMore() ? lane?.take() : undefined;
    if (run !== undefined) child.hand(run);
    this.#dispatch();
  }

  #freed(child: TaskChild, tookMs: number): void {
    const lane = this.#laneOf(child);
    if (lane !== undefined) {
      lane.learn(tookMs);
      if (lane.waiting > 0) this.#fill(lane);
    }
    if (child.load === 0) this.#dispatch();
  }

  #returned(child: TaskChild, runs: readonly Run[]): void {
    const again: Run[] = [];
    for (const run of runs) {
      if (run.cancelled) run.stop('cancelled');
      else if (this.#closed) run.stop('closed');
      else again.push(run.renew());
    }
    this.#laneOf(child)?.putBack(again);
    this.#dispatch();
  }

  #laneOf(child: TaskChild): Lane | undefined {
    for (const lane of this.#lanes.values()) if (lane.children.has(child)) return lane;
    return undefined;
  }

  /** Round-robin: each time, another lane is first. */
  #dispatch(): void {
    for (const lane of [...this.#lanes.values()]) {
      if (lane.waiting === 0) continue;
      this.#lanes.delete(lane.digest);
      this.#lanes.set(lane.digest, lane);
      this.#fill(lane);
    }
  }

  #fill(lane: Lane): void {
    if (this.#closed) return;
    const now = this.#clock.now();
    this.#arm(TICK_MS);
    if (this.#mustYield(lane, now)) return;
    while (lane.waiting > 0) {
      const child = lane.pick(now);
      if (lane.needsOneMore(child) && this.#roomForOneMore(lane, now)) this.#spawn(lane);
      if (child === undefined || (child.load === 0 && !this.#mayRunOneMore())) break;
      const run = lane.take();
      if (run !== undefined) child.hand(run);
    }
    this.#keepSpare(lane);
  }

  /** There may be more processes than concurrent jobs: spare ones of tasks that need a fresh one for each job. */
  #mayRunOneMore(): boolean {
    if (this.#children <= this.#concurrency) return true;
    return [...this.#lanes.values()].reduce((busy, lane) => busy + lane.busy, 0) < this.#concurrency;
  }

  /** Starts the process of the next job while this one runs. */
  #keepSpare(lane: Lane): void {
    const wanted = lane.perJob && lane === this.#newest && !lane.hasIdle;
    if (wanted && !this.#closed && this.#children <= this.#concurrency) this.#spawn(lane);
  }

  /** Another task has waited long enough: the next idle process makes room for it. */
  #mustYield(lane: Lane, now: number): boolean {
    if (this.#lanes.size === 1) return false;
    for (const other of this.#lanes.values()) if (other !== lane && other.isStarving(now) && !lane.isStarving(now)) return true;
    return false;
  }

  /** If the pool is full, ends an idle child of a task without work, or of any task if this one has waited too long. */
  #roomForOneMore(lane: Lane, now: number): boolean {
    if (this.#children < this.#concurrency + (lane.perJob ? 1 : 0)) return true;
    let oldest: TaskChild | undefined;
    for (const other of this.#lanes.values()) {
      if (other === lane || (other.waiting > 0 && !lane.isStarving(now))) continue;
      for (const child of other.children) {
        if (child.usable && child.load === 0 && child.idleSince < (oldest?.idleSince ?? Number.POSITIVE_INFINITY)) oldest = child;
      }
    }
    // Its slot is free once it is gone; that calls #dispatch again.
    oldest?.kill('closed');
    return false;
  }

  #spawn(lane: Lane): void {
    this.#children += 1;
    try {
      const child = new TaskChild(this.#host, lane);
      lane.children.add(child);
      this.#log.debug('process started', { pid: child.pid, task: lane.digest.slice(0, 12) });
    } catch (error) {
      this.#children -= 1;
      const message = error instanceof Error ? error.message : String(error);
      for (const run of lane.takeAll()) run.fail('crashed', `no process could be started: ${message}`);
    }
  }

  #ended(child: TaskChild, unloadable: Unloadable | undefined): void {
    const lane = this.#laneOf(child);
    lane?.children.delete(child);
    lane?.onChildExit(this.#clock.now());
    this.#children -= 1;
    this.#log.debug('process ended', { pid: child.pid, unloadable: unloadable?.message });
    if (lane !== undefined && unloadable !== undefined) {
      lane.startupCrashes += 1;
      if (unloadable.certain || lane.startupCrashes >= MAX_STARTUP_CRASHES) {
        lane.startupCrashes = 0;
        for (const run of lane.takeAll()) run.fail(unloadable.code, unloadable.message, !unloadable.certain);
      }
    }
    this.#dispatch();
    if (lane !== undefined && unloadable === undefined) this.#keepSpare(lane);
    if (lane?.empty && lane !== this.#newest) this.#lanes.delete(lane.digest);
  }

  #cancel(lane: Lane, run: Run): void {
    if (lane.remove(run)) run.stop('cancelled');
    else for (const child of lane.children) if (child.has(run)) child.stop(run, 'cancelled');
  }

  #arm(delayMs: number): void {
    const dueAt = this.#clock.now() + delayMs;
    if (this.#timer !== undefined && this.#tickDueAt <= dueAt) return;
    this.#timer?.cancel();
    this.#tickDueAt = dueAt;
    this.#timer = this.#clock.after(delayMs, () => this.#tick(), { unref: true });
  }

  #tick(): void {
    this.#timer = undefined;
    const now = this.#clock.now();
    const gapMs = now - this.#tickDueAt;
    if (Math.abs(gapMs) > MAX_GAP_MS) for (const lane of this.#lanes.values()) for (const child of lane.children) child.excludeGap(gapMs);
    let busy = false;
    for (const lane of [...this.#lanes.values()]) {
      let staying = lane.children.size;
      for (const child of lane.children) {
        child.tick(now);
        if (child.load > 1 && now - (child.head?.begunAt ?? now) > STUCK_MS) child.recall();
        if (child.load > 0 || child.state === 'starting') {
          busy = true;
          this.#watch.check(child);
        } else if (now - child.idleSince > this.#warmMs && (lane !== this.#newest || staying > 1)) {
          staying -= 1;
          child.kill('closed');
        }
      }
      if (lane.waiting > 0) this.#fill(lane);
    }
    if (this.#children > 0 && !this.#closed) this.#arm(busy ? TICK_MS : IDLE_TICK_MS);
  }

  /** Ends every process. Jobs that still run or wait are released. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    const gone: Promise<void>[] = [];
    for (const lane of this.#lanes.values()) {
      for (const run of lane.takeAll()) run.stop('closed');
      for (const child of lane.children) {
        child.kill('closed');
        gone.push(child.gone);
      }
    }
    await Promise.all(gone);
    const { leftovers, scratchFolder } = this.#host;
    void leftovers.add(scratchFolder);
    await leftovers.close();
  }
}

function refused(code: AnyErrorCode, message: string): Outcome {
  return { state: 'failed', error: { code, message }, retry: true };
}
