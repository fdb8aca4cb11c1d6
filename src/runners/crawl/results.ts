import { constants } from 'node:fs';
import { chmod, lstat, mkdir, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PeerworkError } from '../../errors.js';
import type { Json } from '../../job/job.js';
import { MAX_JOB_DATA_BYTES } from '../../job/limits.js';
import { MAX_VALUE_DEPTH, parseJson } from '../../kit/json.js';

/** Where it is in the container. */
export const RESULTS_TARGET = '/run/peerwork/results';
const MAX_FILES = 2_000;
/** A list of them is the output. */
const RESULT_LIMITS = { maxBytes: MAX_JOB_DATA_BYTES, maxDepth: MAX_VALUE_DEPTH - 2 };

export interface CollectedResults {
  /** One a page, in no order. */
  readonly results: readonly Json[];
  /** Those of them that tell of a page that was given up. */
  readonly failed: number;
}

/** A folder that the containers of one run share for writing, whoever they run as; what is above it must be ours alone. */
export async function makeResultsFolder(path: string): Promise<string> {
  await mkdir(path, { mode: 0o700 });
  // mkdir's own mode is cut by the umask.
  await chmod(path, 0o777);
  return path;
}

/** Bytes in it so far, its files counted with a little each, so that empty ones do not come for nothing. */
export async function sizeOfResults(folder: string): Promise<number> {
  let bytes = 0;
  for (const name of (await readdir(folder)).slice(0, MAX_FILES + 1)) {
    const { size } = await lstat(join(folder, name)).catch(() => ({ size: 0 }));
    bytes += size + 512;
  }
  return bytes;
}

/**
 * The results that the containers have written, one a page: what comes twice, as after a crash, counts once, and a page that was read
 * beats one that failed. The containers must be gone: what they have left may be anything, such as a link to a file of ours.
 * Rejects with `output-too-large`.
 */
export async function collectResults(folder: string, maxBytes: number): Promise<CollectedResults> {
  const byPage = new Map<string, { readonly result: Json; readonly failed: boolean; readonly bytes: number }>();
  let left = maxBytes;
  const names = (await readdir(folder)).filter((name) => name.endsWith('.ndjson')).sort();
  for (const name of names.slice(0, MAX_FILES)) {
    const text = await readPlainFile(join(folder, name), maxBytes * 2);
    // The last line has no end if its container was killed while it wrote; its page was not handled then.
    for (const line of text.split('\n').slice(0, -1)) {
      const read = readResult(line);
      if (read === undefined) continue;
      const known = byPage.get(read.id);
      if (known !== undefined && (!known.failed || read.failed)) continue;
      left += known?.bytes ?? 0;
      left -= line.length + 1;
      if (left < 0) throw new PeerworkError('output-too-large', `the results have more than ${maxBytes} bytes`);
      byPage.set(read.id, { result: read.result, failed: read.failed, bytes: line.length + 1 });
    }
  }
  const all = [...byPage.values()];
  return { results: all.map(({ result }) => result), failed: all.filter(({ failed }) => failed).length };
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

/** Neither through a link nor from a pipe or device. Rejects with `output-too-large`. */
async function readPlainFile(path: string, maxBytes: number): Promise<string> {
  const { O_RDONLY, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = constants;
  const file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch(() => undefined);
  if (file === undefined) return '';
  try {
    const facts = await file.stat();
    if (!facts.isFile()) return '';
    if (facts.size > maxBytes) throw new PeerworkError('output-too-large', `the results have more than ${maxBytes} bytes`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}
