import type { Clock } from '../../clock.js';
import type { PublicInternet } from '../../egress/addresses.js';
import type { NetworkPolicy } from '../../egress/policy.js';
import type { Clearing } from '../../kit/clearing.js';
import type { OomKills } from '../../sandbox/oom-kills.js';
import type { Sandbox } from '../../sandbox/sandbox.js';
import type { Run } from './run.js';

/** The runner as seen by a child; `Child` is the child itself. */
export interface ChildHost<Child> {
  readonly sandbox: Sandbox;
  /** Counts OOM kills in the cgroup of its children. */
  readonly oomKills: OomKills;
  readonly memoryMb: number;
  readonly internet: PublicInternet;
  readonly scratchFolder: string;
  readonly clock: Clock;
  readonly leftovers: Clearing;
  ready(child: Child): void;
  /** Called when a job has ended after `tookMs`; the child can take more. */
  freed(child: Child, tookMs: number): void;
  /** Called with jobs that had not begun, oldest first. */
  returned(child: Child, runs: readonly Run[]): void;
  /** The process has ended. `unloadable`: the reason if it never became ready. */
  ended(child: Child, unloadable: Unloadable | undefined): void;
}

export interface Unloadable {
  readonly code: 'memory' | 'task-unloadable';
  readonly message: string;
  /** Whether the task is certainly to blame; false if it may have been an accident. */
  readonly certain: boolean;
}

/** Shared by all children of one task. */
export interface ChildTask {
  readonly entry: string;
  readonly readable: readonly string[];
  readonly policy: NetworkPolicy;
  /** The child ends with its first job. */
  readonly perJob: boolean;
}
