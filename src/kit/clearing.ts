import { mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, pause } from '../clock.js';
import type { Log } from '../log.js';
import { type Remains, removeTree } from './remove-tree.js';
import { isMissing } from './system-error.js';
import { isAbandoned, unfinishedName } from './whole-file.js';

/**
 * Removes a folder with arbitrary contents. Never rejects: leftovers are logged with their remedy. Resolves with true if everything
 * is gone.
 */
export async function clearAway(path: string, log: Log, signal?: AbortSignal): Promise<boolean> {
  const remains = await removeTree(path, signal);
  if (remains !== undefined && !signal?.aborted) logRemains(remains, log);
  return remains === undefined;
}

/**
 * Renames the folder out of the way first, so that nobody sees it half removed, then removes it. Resolves with false if its name
 * cannot be freed.
 */
export async function clearAtOnce(path: string, log: Log): Promise<boolean> {
  const renamed = unfinishedName(path);
  try {
    await rename(path, renamed);
  } catch (error) {
    return isMissing(error) || clearAway(path, log);
  }
  await clearAway(renamed, log);
  return true;
}

/** Creates an empty folder at `path`, or next to it if something there cannot be removed. Resolves with the path of the new folder. */
export async function freshFolder(path: string, log: Log, mode = 0o700): Promise<string> {
  const free = await clearAway(path, log);
  const folder = free ? path : unfinishedName(path);
  await mkdir(folder, { recursive: true, mode });
  return folder;
}

/** Removes unfinished files and folders left by killed processes. Never rejects. */
export async function sweepAbandoned(folder: string, log: Log): Promise<void> {
  for (const name of await namesIn(folder)) if (isAbandoned(name)) await clearAway(join(folder, name), log);
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}

function logRemains({ path, why, hint }: Remains, log: Log): void {
  log.warn('something could not be removed; the next start tries again', { path, why, hint });
}

/** Removals that may queue up before callers have to wait: folders awaiting removal must not fill the disk. */
const MAX_WAITING = 8;
/** How long `close` waits for pending removals. */
const CLOSE_MS = 2_000;

/**
 * Removes folders in the background, one at a time: a million files take a minute, and neither the next job nor a start or stop
 * should wait for that. The next `sweep` finds whatever is left at the end.
 */
export class Clearing {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #closing = new AbortController();
  #last: Promise<void> = Promise.resolve();
  /** One promise per queued removal. */
  readonly #waiting: Promise<void>[] = [];

  constructor(log: Log, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** Queues a removal. Resolves when there is room for the next one, usually at once. */
  async add(path: string): Promise<void> {
    const removal = this.#last.then(() => (this.#closing.signal.aborted ? undefined : this.#clear(path)));
    this.#last = removal;
    this.#waiting.push(removal);
    void removal.then(() => this.#waiting.shift());
    if (this.#waiting.length > MAX_WAITING) await this.#waiting[this.#waiting.length - MAX_WAITING - 1];
  }

  /** Queues everything in the folder that `isLeft` selects: by default what dead processes left unfinished. */
  async sweep(folder: string, isLeft: (name: string) => boolean = isAbandoned): Promise<void> {
    for (const name of await namesIn(folder)) if (isLeft(name)) void this.add(join(folder, name));
  }

  /** Resolves when all removals are done. After two seconds it aborts the rest. */
  async close(): Promise<void> {
    await Promise.race([this.#last, pause(this.#clock, CLOSE_MS, this.#closing.signal)]);
    this.#closing.abort();
    await this.#last;
  }

  async #clear(path: string): Promise<void> {
    await clearAway(path, this.#log, this.#closing.signal);
  }
}
