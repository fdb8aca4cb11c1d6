import { readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { effectivePolicy, type NetworkCeiling, type NetworkPolicy } from '../../egress/policy.js';
import type { Workplace } from '../../job/runner.js';
import { isMissing } from '../../kit/system-error.js';
import { DEFAULT_TASK_SETTINGS, readTaskModuleSettings, SETTINGS_NAME, type TaskModuleSettings } from '../../task/task-settings.js';
import type { TaskChild } from './child-process.js';
import type { Run } from './run.js';

/** Jobs are queued ahead in one child up to this much estimated time, and never more than MAX_AHEAD. */
const AHEAD_MS = 8;
const MAX_AHEAD = 64;
/** Jobs worth less than this together go to one child: waking another costs more than they take. */
const PACKET_MS = 1;
/** Limit on queued characters, so that large data is not held twice. */
const MAX_AHEAD_CHARS = 256 * 1024;
/** Jobs shorter than this on average are queued ahead. */
const SHORT_MS = 5;
/** A child that has run one job for this long gets no further ones, and returns those behind it. */
export const STUCK_MS = 20;
const SMOOTHING = 0.2;
/** How long a task without a process waits while others have work; then one of their processes makes room. */
const STARVING_MS = 500;

/** One version of one task: its waiting jobs and its children. */
export class Lane {
  readonly digest: string;
  /** Absolute path, with symbolic links resolved: so the permission model compares paths. */
  readonly entry: string;
  readonly readable: readonly string[];
  /** The network of its jobs. */
  readonly policy: NetworkPolicy;
  /** The task requests less than the public internet. */
  readonly narrows: boolean;
  /** Each job gets a fresh process. */
  readonly perJob: boolean;
  readonly children = new Set<TaskChild>();
  /** Consecutive children that ended before they did anything, without a reason from the task. */
  startupCrashes = 0;
  /** When it began to wait for a process. */
  #servedAt = 0;
  #waiting: Run[] = [];
  #first = 0;
  #averageMs = Number.POSITIVE_INFINITY;

  /** Throws if the workplace is missing, or `task-settings-invalid`. */
  constructor({ digest, folder, entry, readable }: Workplace, ceiling: NetworkCeiling) {
    this.digest = digest;
    const home = realpathSync(folder);
    this.entry = join(home, entry);
    this.readable = [...new Set([home, ...readable.map((path) => realpathSync(path))])];
    const { network, process } = settingsIn(home);
    this.policy = effectivePolicy(network, ceiling);
    this.narrows = network === 'none' || Array.isArray(network);
    this.perJob = process === 'per-job';
  }

  get empty(): boolean {
    return this.children.size === 0 && this.waiting === 0;
  }

  get waiting(): number {
    return this.#waiting.length - this.#first;
  }

  push(run: Run, now: number): void {
    if (this.waiting === 0) this.#servedAt = now;
    this.#waiting.push(run);
  }

  /** Puts returned jobs at the front. */
  putBack(runs: readonly Run[]): void {
    this.#waiting = [...runs, ...this.#waiting.slice(this.#first)];
    this.#first = 0;
  }

  take(): Run | undefined {
    const run = this.#waiting[this.#first];
    if (run === undefined) return undefined;
    this.#first += 1;
    if (this.#first > 1_024 && this.#first * 2 > this.#waiting.length) this.putBack([]);
    return run;
  }

  takeAll(): Run[] {
    const all = this.#waiting.slice(this.#first);
    this.#waiting = [];
    this.#first = 0;
    return all;
  }

  /** Returns true if it was waiting here. */
  remove(run: Run): boolean {
    const index = this.#waiting.indexOf(run, this.#first);
    if (index !== -1) this.#waiting.splice(index, 1);
    return index !== -1;
  }

  learn(tookMs: number): void {
    if (!(tookMs >= 0)) return;
    this.#averageMs = Number.isFinite(this.#averageMs) ? this.#averageMs + SMOOTHING * (tookMs - this.#averageMs) : tookMs;
  }

  /** How many jobs a child may hold, the running one included. */
  get depth(): number {
    return this.perJob || this.#averageMs >= SHORT_MS
      ? 1
      : Math.min(MAX_AHEAD, 1 + Math.floor(AHEAD_MS / Math.max(this.#averageMs, 0.001)));
  }

  /** Below this many jobs, another child is not worth waking. */
  get packet(): number {
    return this.perJob ? 1 : Math.floor(PACKET_MS / this.#averageMs);
  }

  /**
   * Picks the child for the next job: one with room in its packet, then an idle one, the most recently used first; otherwise the least
   * loaded one that may have more.
   */
  pick(now: number): TaskChild | undefined {
    let best: TaskChild | undefined;
    const { depth, packet } = this;
    // The files of a job lie there before it begins: no other job may run meanwhile.
    const alone = this.#waiting[this.#first]?.files !== undefined;
    for (const child of this.children) {
      const { load } = child;
      if (!child.usable || load >= depth || (alone && load > 0)) continue;
      if (child.weight > MAX_AHEAD_CHARS) continue;
      if (load > 0 && now - (child.head?.begunAt ?? now) > STUCK_MS) continue;
      if (load > 0 && load < packet) return child;
      if (best === undefined || load < best.load || (load === 0 && best.load === 0 && child.idleSince > best.idleSince)) best = child;
    }
    return best;
  }

  /** Whether more jobs wait than the next child, and those that are starting, can take. */
  needsOneMore(child: TaskChild | undefined): boolean {
    return (child === undefined || child.load >= Math.max(1, this.packet)) && this.waiting > this.starting;
  }

  /** Whether its jobs have waited too long for a process of their own. */
  isStarving(now: number): boolean {
    return this.waiting > 0 && this.children.size === 0 && now - this.#servedAt > STARVING_MS;
  }

  /** Called when one of its processes has ended, which may have been the last. */
  onChildExit(now: number): void {
    this.#servedAt = now;
  }

  /** Whether one of its children has no job, or is starting. */
  get hasIdle(): boolean {
    return [...this.children].some((child) => child.load === 0 && child.state !== 'ended');
  }

  get busy(): number {
    return [...this.children].filter((child) => child.load > 0).length;
  }

  get starting(): number {
    let count = 0;
    for (const child of this.children) if (child.state === 'starting') count += 1;
    return count;
  }
}

function settingsIn(folder: string): TaskModuleSettings {
  let text: Buffer;
  try {
    text = readFileSync(join(folder, SETTINGS_NAME));
  } catch (error) {
    if (isMissing(error)) return DEFAULT_TASK_SETTINGS;
    throw error;
  }
  return readTaskModuleSettings(text);
}
