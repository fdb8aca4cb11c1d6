import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PeerworkError } from '../../errors.js';
import type { Json } from '../../job/job.js';
import { MAX_JOB_DATA_BYTES } from '../../job/limits.js';
import { MAX_VALUE_DEPTH, parseJson } from '../../kit/json.js';
import { readPlainFile } from '../../kit/plain-file.js';
import { systemCode } from '../../kit/system-error.js';

/** A file from a container's output folder. */
export interface CollectedFile {
  readonly [key: string]: Json;
  readonly path: string;
  readonly bytes: number;
  readonly base64: string;
}

/** The job's result as JSON, if the container wrote it. */
const RESULT_FILE = 'result.json';
/** One level deeper in the output than in its file. */
const RESULT_LIMITS = { maxBytes: MAX_JOB_DATA_BYTES, maxDepth: MAX_VALUE_DEPTH - 1, exact: true };
const MAX_FILES = 1_000;
const MAX_DEPTH = 32;
/** Leaves room for the result, the end of stdout and the names. */
const MAX_FILE_BYTES = Math.floor(((MAX_JOB_DATA_BYTES - 512 * 1024) * 3) / 4);

/**
 * Collects the files that match one of the patterns, ordered by path. Only regular files count, and links are not followed, so that
 * nothing outside the folder can be included. Rejects with `output-too-large`.
 */
export async function collectFiles(
  folder: string,
  patterns: readonly { readonly pattern: string; readonly maxBytes: number }[],
): Promise<CollectedFile[]> {
  if (patterns.length === 0) return [];
  const files: CollectedFile[] = [];
  let sum = 0;
  for (const path of await pathsBelow(folder, '', 0)) {
    const wish = patterns.find(({ pattern }) => matchesGlob(path, pattern));
    if (wish === undefined) continue;
    const bytes = await readOutput(folder, path, wish.maxBytes);
    if (bytes === undefined) continue;
    sum += bytes.length;
    if (sum > MAX_FILE_BYTES) throw new PeerworkError('output-too-large', `files of more than ${MAX_FILE_BYTES} bytes in all`);
    if (files.length === MAX_FILES) throw new PeerworkError('output-too-large', `more than ${MAX_FILES} files`);
    files.push({ path, bytes: bytes.length, base64: bytes.toString('base64') });
  }
  return files;
}

/** Returns undefined if there is no result. Rejects with `output-unsendable` for anything that is not JSON. */
export async function readResult(folder: string): Promise<Json | undefined> {
  const bytes = await readOutput(folder, RESULT_FILE, MAX_JOB_DATA_BYTES);
  if (bytes === undefined) return undefined;
  try {
    return parseJson(bytes, RESULT_LIMITS) as Json;
  } catch (error) {
    throw new PeerworkError('output-unsendable', `${RESULT_FILE}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

async function pathsBelow(folder: string, prefix: string, depth: number): Promise<string[]> {
  if (depth > MAX_DEPTH) return [];
  const paths: string[] = [];
  const entries = await readdir(join(folder, prefix), { withFileTypes: true }).catch((error: unknown) => {
    // A folder to which the container denied access is skipped.
    if (systemCode(error) === 'EACCES') return [];
    throw error;
  });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (entry.isDirectory()) paths.push(...(await pathsBelow(folder, `${prefix}${entry.name}/`, depth + 1)));
    else if (entry.isFile()) paths.push(prefix + entry.name);
  }
  return paths;
}

/** Returns undefined if there is no such file, or it may not be read. Rejects with `output-too-large`. */
async function readOutput(folder: string, path: string, maxBytes: number): Promise<Buffer | undefined> {
  const file = await readPlainFile(join(folder, path), maxBytes);
  if (file === undefined) return undefined;
  if (file.size > maxBytes) throw new PeerworkError('output-too-large', `${path} has ${file.size} bytes, allowed are ${maxBytes}`);
  return file.bytes;
}

/**
 * Whether a path matches a pattern: `*` matches any text within a name, `?` one character of it, `**` any number of folders. Not a
 * regular expression: patterns and paths are both untrusted, and one that backtracks could block the worker for hours. The run time is
 * proportional to the product of both lengths.
 */
export function matchesGlob(path: string, pattern: string): boolean {
  const names = path.split('/');
  // reached[i]: whether the pattern so far matches the first i names.
  let reached = [true, ...names.map(() => false)];
  for (const part of pattern.split('/')) {
    const next = reached.map(() => false);
    for (let index = 0; index < reached.length; index += 1) {
      if (part === '**') next[index] = reached[index] === true || (index > 0 && next[index - 1] === true);
      else if (index > 0) next[index] = reached[index - 1] === true && matchesName(names[index - 1] ?? '', part);
    }
    reached = next;
  }
  return reached.at(-1) === true;
}

/** Backtracks to the last `*` only, which is sufficient. */
function matchesName(name: string, pattern: string): boolean {
  let [at, inPattern, star, mark] = [0, 0, -1, 0];
  while (at < name.length) {
    const wanted = pattern[inPattern];
    if (wanted === '*') {
      star = inPattern;
      mark = at;
      inPattern += 1;
    } else if (wanted === '?' || (wanted !== undefined && wanted === name[at])) {
      at += 1;
      inPattern += 1;
    } else if (star >= 0) {
      mark += 1;
      at = mark;
      inPattern = star + 1;
    } else return false;
  }
  while (pattern[inPattern] === '*') inPattern += 1;
  return inPattern === pattern.length;
}
