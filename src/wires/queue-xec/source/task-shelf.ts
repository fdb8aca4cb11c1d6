import { join } from 'node:path';
import type { TaskOrigin } from '../../../job/source.js';
import { clearAway, freshFolder } from '../../../kit/clearing.js';
import type { Log } from '../../../log.js';
import type { LocalTask, SourceContext } from '../../../sources/setup.js';
import { type ReceivedAssets, writeAssets } from './assets.js';

interface Shelved {
  readonly assets: ReceivedAssets;
  readonly folder: string;
  readonly task: LocalTask;
  /** Number of leases that use it. */
  uses: number;
}

/** The code for one lease. */
export interface ShelfCode {
  readonly task: TaskOrigin;
  readonly runner: string;
  readonly done: () => void;
}

/** The Master's current task; earlier versions are kept as long as a lease needs them. */
export class TaskShelf {
  readonly #folder: string;
  readonly #channel: string;
  readonly #localTask: SourceContext['localTask'];
  readonly #log: Log;
  #current: Shelved | undefined;

  constructor(folder: string, channel: string, localTask: SourceContext['localTask'], log: Log) {
    this.#log = log;
    this.#folder = folder;
    this.#channel = channel;
    this.#localTask = localTask;
  }

  /** Hash for the request for files; empty if there are none yet. */
  get hash(): string {
    return this.#current?.assets.hash ?? '';
  }

  get filled(): boolean {
    return this.#current !== undefined;
  }

  /** Installs a new task. Rejects with `task-…`, `asset-…` or `dependencies-…`; the previous task is kept then. */
  async put(assets: ReceivedAssets): Promise<void> {
    const before = this.#current;
    if (before?.assets.digest === assets.digest) return;
    const folder = await freshFolder(join(this.#folder, assets.digest.slice(0, 16)), this.#log);
    const task = await this.#localTask(this.#channel, await writeAssets(folder, assets));
    this.#current = { assets, folder, task, uses: 0 };
    if (before?.uses === 0) await this.#drop(before);
  }

  /** Discards the task so that it is fetched again; leases that use it keep it. */
  async empty(): Promise<void> {
    const before = this.#current;
    this.#current = undefined;
    if (before?.uses === 0) await this.#drop(before);
  }

  /** Returns the code for one lease, which must call `done`; undefined if there is no task. */
  take(): ShelfCode | undefined {
    const shelved = this.#current;
    if (shelved === undefined) return undefined;
    shelved.uses += 1;
    const done = () => {
      shelved.uses -= 1;
      if (shelved.uses === 0 && shelved !== this.#current) void this.#drop(shelved);
    };
    return { ...shelved.task.lease(), done };
  }

  async #drop({ task, folder }: Shelved): Promise<void> {
    await task.close();
    await clearAway(folder, this.#log);
  }
}
