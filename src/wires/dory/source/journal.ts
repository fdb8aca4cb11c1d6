import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { LOCAL_JSON, parseJson } from '../../../kit/json.js';
import { writeWhole } from '../../../kit/whole-file.js';
import type { Log } from '../../../log.js';

const text = v.pipe(v.string(), v.minLength(1));
const entry = v.object({
  runId: text,
  role: v.picklist(['coordinator', 'helper']),
  workerId: text,
  /** Coordinators only: id of the BullMQ job, and the token of its lock. */
  jobId: v.optional(v.string()),
  token: v.optional(v.string()),
  /** How the run ended, until the API knows. */
  verdict: v.optional(
    v.object({
      status: v.picklist(['completed', 'failed']),
      exitCode: v.number(),
      error: v.optional(v.string()),
      /** Last lines printed by the containers of a failed run. */
      log: v.optional(v.string()),
    }),
  ),
});
export type JournalEntry = Readonly<v.InferOutput<typeof entry>>;
export type Verdict = NonNullable<JournalEntry['verdict']>;
const entries = v.array(entry);

/**
 * Persists the runs that this Worker has: after a crash the next process gives them back at once, which would otherwise happen only when
 * their locks expire, and delivers the reports that are still pending. Results are not included; containers deliver them themselves.
 */
export class Journal {
  readonly #file: string;
  readonly #log: Log;
  readonly #entries = new Map<string, JournalEntry>();
  #writing: Promise<void> = Promise.resolve();

  private constructor(file: string, log: Log) {
    this.#file = file;
    this.#log = log;
  }

  static async open(folder: string, log: Log): Promise<Journal> {
    const journal = new Journal(join(folder, 'runs.json'), log);
    try {
      for (const each of v.parse(entries, parseJson(await readFile(journal.#file, 'utf8'), LOCAL_JSON)))
        journal.#entries.set(runKey(each), each);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        log.warn('the file of held runs is unreadable and is started over', {
          error,
          hint: 'If an earlier run hangs in the API, end it there. If the file is not readable for this user, fix its permissions.',
        });
    }
    return journal;
  }

  all(): readonly JournalEntry[] {
    return [...this.#entries.values()];
  }

  /** Replaces the entry of the same run and role. Never rejects: without a disk, only the quick recovery after a crash is lost. */
  put(each: JournalEntry): Promise<void> {
    this.#entries.set(runKey(each), each);
    return this.#write();
  }

  remove(each: Pick<JournalEntry, 'runId' | 'role'>): Promise<void> {
    return this.#entries.delete(runKey(each)) ? this.#write() : this.#writing;
  }

  #write(): Promise<void> {
    this.#writing = this.#writing.then(async () => {
      await writeWhole(this.#file, JSON.stringify(this.all())).catch((error: unknown) => {
        this.#log.warn('the file of held runs cannot be written', {
          error,
          hint: 'Free space on the disk of `--home`, and make it writable for this user; until then runs of a crashed Worker end only by the API’s time limit.',
        });
      });
    });
    return this.#writing;
  }
}

/** Key of a run in one role: a Worker may have the same run as coordinator and as helper. */
export function runKey({ runId, role }: Pick<JournalEntry, 'runId' | 'role'>): string {
  return `${role} ${runId}`;
}
