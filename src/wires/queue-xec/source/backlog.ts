import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { asPeerworkError } from '../../../errors.js';
import { clearAway, sweepAbandoned } from '../../../kit/clearing.js';
import { LOCAL_JSON, parseJson } from '../../../kit/json.js';
import { writeWhole } from '../../../kit/whole-file.js';
import type { Log } from '../../../log.js';

const stored = v.object({ sealed: v.string(), attempt: v.pipe(v.number(), v.safeInteger(), v.minValue(1)) });

/** A job that the Master handed out: from then on it exists here alone. */
export interface Entry {
  /** Tells it apart from all others, also across restarts. */
  readonly serial: number;
  /** As it came, sealed with the transfer key. */
  readonly sealed: string;
  /** 1 for the first run. */
  readonly attempt: number;
  /** Not before. */
  readonly dueAt: number;
}

/**
 * The jobs that were handed to this Worker and have no outcome yet, a file each. A queue-xec Master forgets a job when it hands it out and
 * takes none back: what is killed here is run after the restart, and what is given back unrun waits here.
 */
export class Backlog {
  readonly #folder: string;
  /** Waiting, in the order in which they came. */
  #waiting: Entry[] = [];
  #serial: number;
  readonly #log: Log;
  /** In memory only: the disk was full when they were to be written. Tried again whenever another one is written or done. */
  readonly #unsafe = new Map<number, Entry>();
  /** One after the other: an entry that two write is taken for done by the second, and its file removed. */
  #storing: Promise<void> = Promise.resolve();

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

  /** When the first of those that wait may be run; undefined if none waits. */
  get nextAt(): number | undefined {
    return this.#waiting.length === 0 ? undefined : Math.min(...this.#waiting.map(({ dueAt }) => dueAt));
  }

  /** Resolves when it is on disk, or cannot be written: that is logged, and costs the safety, not the job. */
  async add(sealed: string): Promise<void> {
    this.#serial += 1;
    const entry = { serial: this.#serial, sealed, attempt: 1, dueAt: 0 };
    await this.#store(entry);
    this.#waiting.push(entry);
  }

  take(count: number, now: number): Entry[] {
    const taken = this.#waiting.filter(({ dueAt }) => dueAt <= now).slice(0, count);
    this.#waiting = this.#waiting.filter((entry) => !taken.includes(entry));
    return taken;
  }

  /** It was not run: first in line again. */
  giveBack(entry: Entry): void {
    this.#waiting.unshift(entry);
  }

  /** It failed and is tried again. */
  async again(entry: Entry, dueAt: number): Promise<void> {
    const next = { ...entry, attempt: entry.attempt + 1, dueAt };
    await this.#store(next);
    this.#waiting.push(next);
  }

  /** Its outcome is safe. */
  async done({ serial }: Entry): Promise<void> {
    this.#unsafe.delete(serial);
    await clearAway(this.#path(serial), this.#log);
    await this.#storeUnsafe();
  }

  async #store(entry: Entry): Promise<void> {
    const wasSafe = this.#unsafe.size === 0;
    this.#unsafe.set(entry.serial, entry);
    await this.#storeUnsafe((error) => {
      const { code, message } = asPeerworkError(error);
      if (wasSafe) this.#log.error('a job is kept in memory only: it is lost if this process ends now', { code, message });
    });
  }

  #storeUnsafe(onFailure: (error: unknown) => void = () => {}): Promise<void> {
    if (this.#unsafe.size === 0) return Promise.resolve();
    this.#storing = this.#storing.then(() => this.#storeAll(onFailure));
    return this.#storing;
  }

  /** Oldest first, until one cannot be written. */
  async #storeAll(onFailure: (error: unknown) => void): Promise<void> {
    for (const [serial, entry] of this.#unsafe) {
      const { sealed, attempt } = entry;
      try {
        // Not synced: it is the end of this process that must not lose a job, not that of the machine.
        await writeWhole(this.#path(serial), JSON.stringify({ sealed, attempt }));
      } catch (error) {
        onFailure(error);
        return;
      }
      if (this.#unsafe.get(serial) === entry) this.#unsafe.delete(serial);
      // Its outcome came while it was being written.
      else if (!this.#unsafe.has(serial)) await clearAway(this.#path(serial), this.#log);
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
    return undefined; // not one of ours, or a broken disk
  }
}
