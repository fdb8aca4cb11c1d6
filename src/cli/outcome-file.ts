import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import * as v from 'valibot';
import { PeerworkError } from '../errors.js';
import type { SettledJob } from '../job/job.js';
import { MESSAGE_LIMITS } from '../job/limits.js';
import { parseJson } from '../kit/json.js';
import { diskError, fileError } from '../kit/system-error.js';
import { writeAll } from '../kit/whole-file.js';

const MAX_UNWRITTEN_CHARS = 4 * 1024 * 1024;

const outcomeLine = v.object({
  id: v.string(),
  settlement: v.optional(v.number()),
  state: v.picklist(['completed', 'failed', 'cancelled']),
  error: v.optional(v.object({ code: v.string(), message: v.string() })),
  attempts: v.number(),
  worker: v.optional(v.string()),
  finishedAt: v.number(),
});
/** What a run needs to know about an outcome written earlier; the output stays in the file. */
export type WrittenOutcome = Omit<SettledJob, 'output'>;

interface EarlierOutcome extends WrittenOutcome {
  /** The settlement's number in the ledger; files of older versions lack it. */
  readonly settlement?: number;
}

export type OutcomeHandle = Pick<FileHandle, 'write' | 'truncate' | 'sync' | 'close'>;

/**
 * A file that settlements are appended to, one JSON object per line: a job that is retried and settles again has one line for each,
 * and the last one counts. When reopened it knows its contents, so that each settlement is written once; a last line that a crash
 * has truncated is removed.
 */
export class OutcomeFile {
  /** The last outcome per job of earlier runs, by id. */
  readonly earlier: ReadonlyMap<string, EarlierOutcome>;
  readonly #file: OutcomeHandle;
  /** Offset of the end of the last complete line. */
  #bytes: number;
  #torn = false;
  #unwritten = '';
  #writing: Promise<void> | undefined;

  private constructor(file: OutcomeHandle, bytes: number, earlier: ReadonlyMap<string, EarlierOutcome>) {
    this.#file = file;
    this.#bytes = bytes;
    this.earlier = earlier;
  }

  /**
   * Opens the file. Rejects with `option-invalid` if it contains something else, or with the code for the system's error.
   * `openFile` is for tests.
   */
  static async open(path: string, openFile: (path: string) => Promise<OutcomeHandle> = (name) => open(name, 'a+')): Promise<OutcomeFile> {
    const file = await openFile(path).catch((error: unknown) => {
      throw fileError(error, 'option-invalid', `--output ${path}`);
    });
    const { earlier, bytes } = await readOutcomes(path);
    await file.truncate(bytes);
    return new OutcomeFile(file, bytes, earlier);
  }

  /**
   * Appends a settlement, unless an earlier run did. A ledger numbers its settlements, but a new ledger starts at 1 again, so the
   * instant is compared too. Resolves at once while the disk keeps up, otherwise once it has caught up. Rejects with `disk-full`,
   * or with the system's error, if it cannot be written; the line is kept, and retried on the next write and on `close`.
   */
  async write(settlement: number, job: SettledJob): Promise<void> {
    const { id, state, output, files, error, attempts, worker, startedAt, finishedAt } = job;
    const last = this.earlier.get(id);
    if (last?.finishedAt === finishedAt && last.state === state && (last.settlement ?? settlement) === settlement) return;
    this.#unwritten += `${JSON.stringify({ id, settlement, state, output, files, error, attempts, worker, startedAt, finishedAt })}\n`;
    this.#writing ??= this.#flush();
    if (this.#unwritten.length > MAX_UNWRITTEN_CHARS) await this.#writing;
    else this.#writing.catch(() => {}); // reported by the next write or by close
  }

  async close(): Promise<void> {
    try {
      await this.#writing?.catch(() => {});
      await this.#flush();
      await this.#file.sync();
    } finally {
      await this.#file.close();
    }
  }

  async #flush(): Promise<void> {
    // Lets jobs that settled together be written together.
    await null;
    try {
      while (this.#unwritten !== '') {
        const text = this.#unwritten;
        this.#unwritten = '';
        await this.#append(text);
      }
    } finally {
      this.#writing = undefined;
    }
  }

  async #append(text: string): Promise<void> {
    const bytes = Buffer.from(text);
    try {
      // The leftovers of a failed write may still be there if truncating failed too.
      if (this.#torn) await this.#cut();
      await writeAll(this.#file, bytes);
      this.#bytes += bytes.length;
    } catch (error) {
      this.#unwritten = text + this.#unwritten;
      this.#torn = true;
      await this.#cut().catch(() => {});
      throw diskError(error);
    }
  }

  async #cut(): Promise<void> {
    await this.#file.truncate(this.#bytes);
    this.#torn = false;
  }
}

async function readOutcomes(path: string): Promise<{ earlier: Map<string, EarlierOutcome>; bytes: number }> {
  const earlier = new Map<string, EarlierOutcome>();
  let bytes = 0;
  let number = 0;
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      number += 1;
      const outcome = readOutcome(rest.toString('utf8', 0, end));
      if (outcome === undefined)
        throw new PeerworkError('option-invalid', `--output ${path}: line ${number} is no outcome; name another file`);
      earlier.set(outcome.id, outcome);
      bytes += end + 1;
      rest = rest.subarray(end + 1);
    }
  }
  // A single unterminated line that does not look like ours means that the file belongs to something else: it is not truncated.
  if (rest.length > 0 && bytes === 0 && !rest.toString().startsWith('{"id":')) {
    throw new PeerworkError('option-invalid', `--output ${path}: it holds something else; name another file`);
  }
  return { earlier, bytes };
}

function readOutcome(line: string): EarlierOutcome | undefined {
  try {
    const { id, settlement, state, error, attempts, worker, finishedAt } = v.parse(outcomeLine, parseJson(line, MESSAGE_LIMITS));
    return { id, state, attempts, finishedAt, ...(settlement && { settlement }), ...(error && { error }), ...(worker && { worker }) };
  } catch {
    return undefined;
  }
}
