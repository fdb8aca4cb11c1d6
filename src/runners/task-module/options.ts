import type { Clock } from '../../clock.js';
import type { PublicInternet } from '../../egress/addresses.js';
import type { OwnerNetwork } from '../../egress/policy.js';
import type { Log } from '../../log.js';

export interface TaskModuleOptions {
  /** How many jobs run at a time: one process each. */
  readonly concurrency: number;
  /** Memory of one job in MiB: its whole process, Node's own 45 MiB included. Default 256. */
  readonly memoryMb?: number;
  /** Files that one job may have at a time, in MiB. Default 1024. */
  readonly scratchMb?: number;
  /** An existing or new folder for the jobs' own folders; absolute. */
  readonly scratchFolder: string;
  /** What jobs may reach at most. Default `internet`; less needs bubblewrap. */
  readonly network?: OwnerNetwork;
  /** What counts as public; default: what this machine is not in itself. */
  readonly internet?: PublicInternet;
  /** bubblewrap: when it works (`auto`), always or refuse to start (`required`), never (`off`). Default `auto`. */
  readonly sandbox?: 'auto' | 'required' | 'off';
  /** Path of `bwrap`. Default: the one in PATH or the system's folders. */
  readonly bubblewrap?: string;
  /** An idle process stays warm this long; one of the task used last stays for good. Default 30 s. */
  readonly warmMs?: number;
  readonly log?: Log;
  readonly clock?: Clock;
}
