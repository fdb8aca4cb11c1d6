import { mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, pause } from '../clock.js';
import type { Log } from '../log.js';
import { type Remains, removeTree } from './remove-tree.js';
import { isMissing } from './system-error.js';
import { isAbandoned, unfinishedName } from './whole-file.js';

/** Removes a folder that may hold anything. Never rejects: what cannot be removed is told with its remedy. True if all is gone. */
export async function clearAway(path: string, log: Log, signal?: AbortSignal): Promise<boolean> {
  const remains = await removeTree(path, signal);
  if (remains !== undefined && !signal?.aborted) tell(remains, log);
  return remains === undefined;
}

/** Takes the folder's name away at once, so that nobody sees it half removed, then removes it. False if the name cannot be freed. */
export async function clearAtOnce(path: string, log: Log): Promise<boolean> {
  const leaving = unfinishedName(path);
  try {
    await rename(path, leaving);
  } catch (error) {
    return isMissing(error) || clearAway(path, log);
  }
  await clearAway(leaving, log);
  return true;
}

/** Makes an empty folder there; where something is in the way that cannot be removed, beside it. Resolves with its path. */
export async function freshFolder(path: string, log: Log, mode = 0o700): Promise<string> {
  const free = await clearAway(path, log);
  const folder = free ? path : unfinishedName(path);
  await mkdir(folder, { recursive: true, mode });
  return folder;
}

/** Removes what killed processes left unfinished in the folder. Never rejects. */
export async function sweepAbandoned(folder: string, log: Log): Promise<void> {
  for (const name of await namesIn(folder)) if (isAbandoned(name)) await clearAway(join(folder, name), log);
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}

function tell({ path, why, hint }: Remains, log: Log): void {
  log.warn('something could not be removed; the next start tries again', { path, why, hint });
}

/** So many folders may wait to be removed before whoever makes them has to wait too: a disk is not filled by what is on its way out. */
const MAX_WAITING = 8;
/** How long a stop waits for what is being removed. */
const CLOSE_MS = 2_000;

/**
 * Removes folders in the background, one after the other: a million files take a minute, and neither the next job nor a start nor a stop
 * waits for them. What is not gone at the end is found by the next `sweep`.
 */
export class Clearing {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #closing = new AbortController();
  #last: Promise<void> = Promise.resolve();
  /** What was removed for each that waits. */
  readonly #waiting: Promise<void>[] = [];

  constructor(log: Log, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** Resolves when there is room for the next; mostly at once. */
  async add(path: string): Promise<void> {
    const gone = this.#last.then(() => (this.#closing.signal.aborted ? undefined : this.#clear(path)));
    this.#last = gone;
    this.#waiting.push(gone);
    void gone.then(() => this.#waiting.shift());
    if (this.#waiting.length > MAX_WAITING) await this.#waiting[this.#waiting.length - MAX_WAITING - 1];
  }

  /** Everything in the folder that `isLeft` names: by default what dead processes left unfinished. */
  async sweep(folder: string, isLeft: (name: string) => boolean = isAbandoned): Promise<void> {
    for (const name of await namesIn(folder)) if (isLeft(name)) void this.add(join(folder, name));
  }

  /** Resolves when all is gone, or after two seconds; then it stops where it is. */
  async close(): Promise<void> {
    await Promise.race([this.#last, pause(this.#clock, CLOSE_MS, this.#closing.signal)]);
    this.#closing.abort();
    await this.#last;
  }

  async #clear(path: string): Promise<void> {
    await clearAway(path, this.#log, this.#closing.signal);
  }
}
