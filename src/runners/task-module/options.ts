import type { Clock } from '../../clock.js';
import type { PublicInternet } from '../../egress/addresses.js';
import type { OwnerNetwork } from '../../egress/policy.js';
import type { Log } from '../../log.js';

export interface TaskModuleOptions {
  /** Concurrent jobs, one process each. */
  readonly concurrency: number;
  /** Memory of one job in MiB, for the whole process, including Node's own 45 MiB. Default 256. */
  readonly memoryMb?: number;
  /** Limit on the files of one job, in MiB. Default 1024. */
  readonly scratchMb?: number;
  /** Absolute path of an existing or new folder for the jobs' own folders. */
  readonly scratchFolder: string;
  /** The most that jobs may reach. Default `internet`; less needs bubblewrap. */
  readonly network?: OwnerNetwork;
  /** What counts as public; default: everything except the networks of this machine. */
  readonly internet?: PublicInternet;
  /** Use of bubblewrap: if it works (`auto`), always or refuse to start (`required`), or never (`off`). Default `auto`. */
  readonly sandbox?: 'auto' | 'required' | 'off';
  /** Path of `bwrap`. Default: the one in PATH or the system's folders. */
  readonly bubblewrap?: string;
  /** How long an idle process stays warm; one process of the most recent task is kept indefinitely. Default 30 s. */
  readonly warmMs?: number;
  readonly log?: Log;
  readonly clock?: Clock;
}
