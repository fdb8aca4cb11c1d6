import { mkdir, readdir, realpath, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../clock.js';
import { bytesBelow } from '../../kit/bytes-below.js';
import { Clearing, clearAtOnce } from '../../kit/clearing.js';
import { isAbandoned } from '../../kit/whole-file.js';
import type { Log } from '../../log.js';
import { makeResultsFolder } from './results.js';

/** Age after which the state of a crawl is useless to any next attempt. */
export const KEEP_MS = 86_400_000;
const TOUCH_MS = 3_600_000;
/** In addition to running ones: the least recently used are evicted first. */
const MAX_CRAWLS = 64;
const MAX_BYTES = 512 * 1024 * 1024;
const KEY = /^[0-9a-f]{64}$/;

/** The folder of a crawl while it runs. */
export interface KeptCrawl {
  /** Mounted into its containers: results and known pages, including those of earlier attempts. Its content is untrusted. */
  readonly results: string;
  /** Removes the state: no attempt will continue from it. */
  forget(): Promise<void>;
  /** Lets another run of the same crawl use the folder. */
  release(): void;
}

/**
 * State of crawls on disk, from which the next attempt of a job continues however the last one ended. A crawl is identified by its key:
 * the job, the exact version of its task, and all of its settings. Bounded in number, bytes and age.
 */
export class KeptCrawls {
  readonly #folder: string;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #clearing: Clearing;
  /** By key of a running crawl, the promise that its next run waits for. */
  readonly #inUse = new Map<string, Promise<void>>();

  private constructor(folder: string, clock: Clock, log: Log) {
    this.#folder = folder;
    this.#clock = clock;
    this.#log = log;
    this.#clearing = new Clearing(log, clock);
  }

  static async open(folder: string, clock: Clock, log: Log): Promise<KeptCrawls> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const kept = new KeptCrawls(await realpath(folder), clock, log);
    await kept.sweep();
    return kept;
  }

  /** Of two runs of the same crawl (a lease that was lost and came back) the second waits until the first has ended. */
  async take(key: string): Promise<KeptCrawl> {
    const before = this.#inUse.get(key);
    let release = () => {};
    const ended = new Promise<void>((resolve) => {
      release = resolve;
    });
    const chained = (before ?? Promise.resolve()).then(() => ended);
    this.#inUse.set(key, chained);
    const done = () => {
      if (this.#inUse.get(key) === chained) this.#inUse.delete(key);
      release();
    };
    await before;
    const folder = join(this.#folder, key);
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const results = await makeResultsFolder(join(folder, 'results'));
      await this.#touch(folder, ended);
      return { results, forget: async () => void (await clearAtOnce(folder, this.#log)), release: done };
    } catch (thrown) {
      done();
      throw thrown;
    }
  }

  /** Removes what is too old or too much, in the background. Never rejects. */
  async sweep(): Promise<void> {
    const found: { readonly name: string; readonly usedAt: number }[] = [];
    for (const name of await readdir(this.#folder).catch(() => [])) {
      if (this.#inUse.has(name)) continue;
      // A removal in progress continues by itself, unless it was interrupted.
      if (!KEY.test(name) && !isAbandoned(name)) continue;
      const facts = await stat(join(this.#folder, name)).catch(() => undefined);
      found.push({ name, usedAt: KEY.test(name) ? (facts?.mtimeMs ?? 0) : 0 });
    }
    found.sort((a, b) => b.usedAt - a.usedAt);
    const now = this.#clock.wall();
    let bytes = 0;
    for (const [at, { name, usedAt }] of found.entries()) {
      // A time in the future is as wrong as one long ago: the clock was set back in between.
      const old = Math.abs(now - usedAt) > KEEP_MS;
      if (!old && at < MAX_CRAWLS && bytes <= MAX_BYTES) bytes += await bytesBelow(join(this.#folder, name), MAX_BYTES);
      if (old || at >= MAX_CRAWLS || bytes > MAX_BYTES) void this.#clearing.add(join(this.#folder, name));
    }
  }

  async close(): Promise<void> {
    await this.#clearing.close();
  }

  /** Counts its age from the last use, even after a crawl of several days whose Worker was killed. */
  async #touch(folder: string, ended: Promise<void>): Promise<void> {
    const seconds = this.#clock.wall() / 1_000;
    await utimes(folder, seconds, seconds).catch(() => {});
    const again = this.#clock.after(TOUCH_MS, () => void this.#touch(folder, ended), { unref: true });
    void ended.then(() => again.cancel());
  }
}
