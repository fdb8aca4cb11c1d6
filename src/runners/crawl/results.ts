import { chmod, lstat, mkdir, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Json } from '../../job/job.js';
import { MAX_JOB_DATA_BYTES } from '../../job/limits.js';
import { MAX_VALUE_DEPTH, parseJson } from '../../kit/json.js';
import { readPlainFile } from '../../kit/plain-file.js';
import { isMissing } from '../../kit/system-error.js';

/** Path of the folder in the container. */
export const RESULTS_TARGET = '/run/peerwork/results';
/** More than containers have a reason to create; further files are ignored. */
const MAX_FILES = 2_000;
const RESULTS_ENDING = '.ndjson';
/** Two levels deeper in the output, as an item of a list. */
const RESULT_LIMITS = { maxBytes: MAX_JOB_DATA_BYTES, maxDepth: MAX_VALUE_DEPTH - 2 };

/**
 * Creates a folder that the containers of one run share for writing, whatever users they run as; its parent must be accessible to us
 * alone.
 */
export async function makeResultsFolder(path: string): Promise<string> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  // The mode of mkdir is masked by the umask.
  await chmod(path, 0o777);
  return path;
}

/** Returns the bytes of results and of all files so far, with a surcharge per file, so that empty ones are not free. */
export async function sizeOfResults(folder: string): Promise<{ readonly results: number; readonly all: number }> {
  let [results, all] = [0, 0];
  for (const name of await namesIn(folder)) {
    const { size } = await lstat(join(folder, name)).catch(() => ({ size: 0 }));
    if (name.endsWith(RESULTS_ENDING)) results += size;
    all += size + 512;
  }
  return { results, all };
}

interface KnownPage {
  readonly result: Json;
  readonly failed: boolean;
  readonly bytes: number;
}

/**
 * The results of a crawl, one per page. Duplicates, as after a crash, count once, and a page that was read replaces one that failed.
 * Keeps as many as fit into the limit of bytes of JSON, and counts the others.
 */
export class ResultBook {
  readonly #pages = new Map<string, KnownPage>();
  readonly #leftOut = new Set<string>();
  #left: number;

  constructor(maxBytes: number) {
    this.#left = maxBytes;
  }

  /** Adds one result as JSON text; anything else is ignored. */
  add(line: string): void {
    const read = readResult(line);
    if (read === undefined) return;
    const { id, result, failed } = read;
    const known = this.#pages.get(id);
    if (known !== undefined && (!known.failed || failed)) return;
    const bytes = Buffer.byteLength(JSON.stringify(result)) + 1;
    if (this.#left + (known?.bytes ?? 0) < bytes) {
      if (known === undefined) this.#leftOut.add(id);
      return;
    }
    this.#left += (known?.bytes ?? 0) - bytes;
    this.#leftOut.delete(id);
    this.#pages.set(id, { result, failed, bytes });
  }

  has(id: string): boolean {
    return this.#pages.has(id);
  }

  /** In order of arrival. */
  get results(): readonly Json[] {
    return [...this.#pages.values()].map(({ result }) => result);
  }

  /** Results of pages that were given up. */
  get failed(): number {
    return [...this.#pages.values()].filter(({ failed }) => failed).length;
  }

  /** Pages whose results did not fit. */
  get leftOut(): number {
    return this.#leftOut.size;
  }
}

/**
 * Adds what the containers have written. They must be gone by then; the files are untrusted and could be links to ours. Reads at most
 * twice `maxBytes` of each file.
 */
export async function enterResults(folder: string, book: ResultBook, maxBytes: number): Promise<void> {
  const names = (await namesIn(folder)).filter((name) => name.endsWith(RESULTS_ENDING)).sort();
  for (const name of names) {
    const file = await readPlainFile(join(folder, name), maxBytes * 2);
    // The last line is truncated if its container was killed while writing; its page was not handled then.
    for (const line of (file?.bytes.toString('utf8') ?? '').split('\n').slice(0, -1)) book.add(line);
  }
}

function readResult(line: string): { readonly id: string; readonly result: Json; readonly failed: boolean } | undefined {
  try {
    const result = parseJson(line, RESULT_LIMITS) as { readonly [key: string]: Json } | null;
    const id = result?.['requestId'];
    if (typeof id !== 'string' || result === null) return undefined;
    return { id, result, failed: result['error'] !== undefined };
  } catch {
    return undefined;
  }
}

async function namesIn(folder: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const { name } of await opendir(folder)) if (names.push(name) === MAX_FILES) break;
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  return names;
}
