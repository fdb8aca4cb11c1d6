import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { asPeerworkError } from '../../../errors.js';
import { clearAway, sweepAbandoned } from '../../../kit/clearing.js';
import { LOCAL_JSON, parseJson } from '../../../kit/json.js';
import { writeWhole } from '../../../kit/whole-file.js';
import type { Log } from '../../../log.js';

const stored = v.object({ sealed: v.string(), attempt: v.pipe(v.number(), v.safeInteger(), v.minValue(1)) });

/** A job that the Master handed out. From then on it exists only here. */
export interface BacklogEntry {
  /** Unique id, also across restarts. */
  readonly serial: number;
  /** As received, sealed with the transfer key. */
  readonly sealed: string;
  /** 1 for the first run. */
  readonly attempt: number;
  /** Earliest time of the next run. */
  readonly dueAt: number;
}

/**
 * Jobs that were handed to this Worker and have no outcome yet, stored in one file each. A queue-xec Master forgets a job when it hands it
 * out and takes none back, so jobs interrupted by a kill run after the restart, and jobs released unrun wait here.
 */
export class Backlog {
  readonly #folder: string;
  /** In order of arrival. */
  #waiting: BacklogEntry[] = [];
  #serial: number;
  readonly #log: Log;
  /** Entries that are only in memory because the disk was full. Retried whenever another entry is written or done. */
  readonly #unwritten = new Map<number, BacklogEntry>();
  /** Serializes writes: of two concurrent writes of an entry, the second would treat it as done and remove its file. */
  #writing: Promise<void> = Promise.resolve();

  private constructor(folder: string, serial: number, log: Log) {
    this.#folder = folder;
    this.#serial = serial;
    this.#log = log;
  }

  static async open(folder: string, now: number, log: Log): Promise<Backlog> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    void sweepAbandoned(folder, log);
    const backlog = new Backlog(folder, now, log);
    const serials = (await readdir(folder)).flatMap((name) => /^(\d{1,15})\.job$/.exec(name)?.[1] ?? []).map(Number);
    for (const serial of serials.sort((a, b) => a - b)) {
      const read = v.safeParse(stored, await readStored(backlog.#path(serial)));
      if (read.success) backlog.#waiting.push({ ...read.output, serial, dueAt: 0 });
      backlog.#serial = Math.max(backlog.#serial, serial);
    }
    return backlog;
  }

  get size(): number {
    return this.#waiting.length;
  }

  /** Earliest instant at which a waiting job may run; undefined if none waits. */
  get nextAt(): number | undefined {
    return this.#waiting.length === 0 ? undefined : Math.min(...this.#waiting.map(({ dueAt }) => dueAt));
  }

  /** Stores a new job. Resolves when it is on disk, or when writing failed, which is logged and costs durability, not the job. */
  async add(sealed: string): Promise<void> {
    this.#serial += 1;
    const entry = { serial: this.#serial, sealed, attempt: 1, dueAt: 0 };
    await this.#store(entry);
    this.#waiting.push(entry);
  }

  take(count: number, now: number): BacklogEntry[] {
    const taken = this.#waiting.filter(({ dueAt }) => dueAt <= now).slice(0, count);
    this.#waiting = this.#waiting.filter((entry) => !taken.includes(entry));
    return taken;
  }

  /** Returns a job that was not run; it is the next one out. */
  giveBack(entry: BacklogEntry): void {
    this.#waiting.unshift(entry);
  }

  /** Stores a failed job for another attempt. */
  async retry(entry: BacklogEntry, dueAt: number): Promise<void> {
    const next = { ...entry, attempt: entry.attempt + 1, dueAt };
    await this.#store(next);
    this.#waiting.push(next);
  }

  /** Removes a job whose outcome is stored in the outbox. */
  async done({ serial }: BacklogEntry): Promise<void> {
    this.#unwritten.delete(serial);
    await clearAway(this.#path(serial), this.#log);
    await this.#storeUnwritten();
  }

  async #store(entry: BacklogEntry): Promise<void> {
    const allWritten = this.#unwritten.size === 0;
    this.#unwritten.set(entry.serial, entry);
    await this.#storeUnwritten((error) => {
      const { code, message } = asPeerworkError(error);
      if (allWritten) this.#log.error('a job is kept in memory only: it is lost if this process ends now', { code, message });
    });
  }

  #storeUnwritten(onFailure: (error: unknown) => void = () => {}): Promise<void> {
    if (this.#unwritten.size === 0) return Promise.resolve();
    this.#writing = this.#writing.then(() => this.#storeAll(onFailure));
    return this.#writing;
  }

  /** Writes the oldest first, and stops at the first failure. */
  async #storeAll(onFailure: (error: unknown) => void): Promise<void> {
    for (const [serial, entry] of this.#unwritten) {
      const { sealed, attempt } = entry;
      try {
        // No fsync: a job must survive the end of this process, not of the machine.
        await writeWhole(this.#path(serial), JSON.stringify({ sealed, attempt }));
      } catch (error) {
        onFailure(error);
        return;
      }
      if (this.#unwritten.get(serial) === entry) this.#unwritten.delete(serial);
      // Its outcome arrived while it was being written.
      else if (!this.#unwritten.has(serial)) await clearAway(this.#path(serial), this.#log);
    }
  }

  #path(serial: number): string {
    return join(this.#folder, `${serial}.job`);
  }
}

async function readStored(file: string): Promise<unknown> {
  try {
    return parseJson(await readFile(file, 'utf8'), LOCAL_JSON);
  } catch {
    return undefined; // Not one of our files, or a disk error.
  }
}
