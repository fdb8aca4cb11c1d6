import type { Clock } from '../../clock.js';
import type { PublicInternet } from '../../egress/addresses.js';
import type { NetworkPolicy } from '../../egress/policy.js';
import type { Clearing } from '../../kit/clearing.js';
import type { OomKills } from '../../sandbox/oom-kills.js';
import type { Sandbox } from '../../sandbox/sandbox.js';
import type { TaskChild } from './child-process.js';
import type { Run } from './run.js';

export interface ChildHost {
  readonly sandbox: Sandbox;
  /** Of the cgroup that its children are in. */
  readonly oomKills: OomKills;
  readonly memoryMb: number;
  readonly internet: PublicInternet;
  readonly scratchFolder: string;
  readonly clock: Clock;
  readonly leftovers: Clearing;
  ready(child: TaskChild): void;
  /** A job has ended after `tookMs`; the child can take more. */
  freed(child: TaskChild, tookMs: number): void;
  /** Jobs that had not begun, oldest first. */
  returned(child: TaskChild, runs: readonly Run[]): void;
  /** The process is gone. `unloadable` says why it never became ready. */
  ended(child: TaskChild, unloadable: Unloadable | undefined): void;
}

export interface Unloadable {
  readonly code: 'memory' | 'task-unloadable';
  readonly message: string;
  /** True if the task is to blame, false if it may have been an accident. */
  readonly certain: boolean;
}

/** What all children of one task have in common. */
export interface ChildTask {
  readonly entry: string;
  readonly readable: readonly string[];
  readonly policy: NetworkPolicy;
  /** The child ends with its first job. */
  readonly perJob: boolean;
}
