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
  /** Leases that use it. */
  uses: number;
}

/** What a lease has of it. */
export interface Taken {
  readonly task: TaskOrigin;
  readonly runner: string;
  readonly done: () => void;
}

/** The task of the Master as it is now; older ones stay for as long as a lease needs them. */
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

  /** What the Master is asked with: '' if there is nothing yet. */
  get hash(): string {
    return this.#current?.assets.hash ?? '';
  }

  get filled(): boolean {
    return this.#current !== undefined;
  }

  /** Rejects with `task-…`, `asset-…`, `dependencies-…`; the task before stays. */
  async put(assets: ReceivedAssets): Promise<void> {
    const before = this.#current;
    if (before?.assets.digest === assets.digest) return;
    const folder = await freshFolder(join(this.#folder, assets.digest.slice(0, 16)), this.#log);
    const task = await this.#localTask(this.#channel, await writeAssets(folder, assets));
    this.#current = { assets, folder, task, uses: 0 };
    if (before?.uses === 0) await this.#drop(before);
  }

  /** The task is to be fetched anew; leases that use it keep it. */
  async empty(): Promise<void> {
    const before = this.#current;
    this.#current = undefined;
    if (before?.uses === 0) await this.#drop(before);
  }

  /** For one lease; `done` gives it back. Undefined if there is no task. */
  take(): Taken | undefined {
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
