import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { asPeerworkError, PeerworkError } from '../errors.js';
import type { FileRef } from '../job/files.js';
import { DEFAULT_CHANNEL, type JobInput } from '../job/job.js';
import { checkJobInput } from '../job/job-input.js';
import { MAX_JOB_DATA_BYTES } from '../job/limits.js';
import { formatJson, type JsonRefused, parseJson } from '../kit/json.js';
import { type Line, LineCutter } from '../kit/lines.js';
import { fileError } from '../kit/system-error.js';
import type { JobWithFiles } from '../master/files.js';

/** One line of the input: a job, or the reason why it is not one. */
export type JobLine =
  | { readonly line: number; readonly job: JobWithFiles & { readonly id: string } }
  | { readonly line: number; readonly problem: string; readonly tooLarge?: boolean };

/** Larger than the largest job: input without a line end by then is not a job file. */
const MAX_LINE_BYTES = MAX_JOB_DATA_BYTES + 64 * 1024;
const MAX_SHOWN_PROBLEMS = 10;

/** Yields the jobs of an NDJSON stream one at a time, without reading ahead. Blank lines are skipped. Paths of files are relative to `folder`. */
export async function* readJobLines(chunks: AsyncIterable<Uint8Array>, folder = process.cwd()): AsyncGenerator<JobLine, void, undefined> {
  const cutter = new LineCutter(MAX_LINE_BYTES, { trimmed: true });
  for await (const chunk of chunks) for (const line of cutter.take(chunk)) yield readJobLine(line, folder);
  for (const line of cutter.end()) yield readJobLine(line, folder);
}

/** Paths of files in an input are relative to it; in stdin, to the working directory. */
export function folderOf(file: string): string {
  return file === '-' ? process.cwd() : dirname(resolve(file));
}

/** Reads `file`, or stdin for `-`. Rejects with the code for the system's error. */
export async function* openJobFile(file: string): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* file === '-' ? process.stdin : createReadStream(file, { highWaterMark: 256 * 1024 });
  } catch (thrown) {
    throw fileError(thrown, 'option-invalid', `--input ${file}`);
  }
}

/**
 * Reads a whole job file once, so that it can be refused before anything is added; resolves with its ids. Rejects with
 * `job-invalid` or `job-too-large` listing the first bad lines, or with the code for the system's error.
 */
export async function checkJobFile(file: string, channels: ReadonlySet<string>): Promise<Set<string>> {
  const found = await stat(file).catch((thrown: unknown) => Promise.reject(fileError(thrown, 'option-invalid', `--input ${file}`)));
  if (found.isDirectory()) throw new PeerworkError('path-is-folder', `--input ${file}`);
  const lines = new Map<string, number>();
  const problems: string[] = [];
  let more = 0;
  let tooLarge = true;
  for await (const entry of readJobLines(openJobFile(file), folderOf(file))) {
    const problem =
      'problem' in entry
        ? entry.problem
        : (channelProblem(entry.job, channels) ?? repetition(lines, entry.job.id, entry.line) ?? (await fileProblem(entry.job)));
    if (problem === undefined) continue;
    tooLarge &&= 'problem' in entry && entry.tooLarge === true;
    if (problems.length < MAX_SHOWN_PROBLEMS) problems.push(`line ${entry.line}: ${problem}`);
    else more += 1;
  }
  if (problems.length > 0) throw invalidLines(file, problems, { more, tooLarge });
  return new Set(lines.keys());
}

/** Returns `job-too-large` if that is all that is wrong with these lines, otherwise `job-invalid`. */
export function invalidLines(file: string, problems: readonly string[], { more = 0, tooLarge = false } = {}): PeerworkError {
  const rest = more === 0 ? '' : `\n  … and ${more} more`;
  return new PeerworkError(
    tooLarge ? 'job-too-large' : 'job-invalid',
    `${file === '-' ? 'stdin' : file}\n  ${problems.join('\n  ')}${rest}\n`,
  );
}

/** A job that no task serves would wait forever. */
export function channelProblem(job: Pick<JobInput, 'channel'>, channels: ReadonlySet<string>): string | undefined {
  const channel = job.channel ?? DEFAULT_CHANNEL;
  return channels.has(channel) ? undefined : `no --task serves its channel ${JSON.stringify(channel)}`;
}

function repetition(lines: Map<string, number>, id: string, line: number): string | undefined {
  const before = lines.get(id);
  if (before !== undefined) return `has the same id as line ${before}`;
  lines.set(id, line);
  return undefined;
}

function isLimit(reason: JsonRefused['reason']): boolean {
  return reason === 'too-large' || reason === 'too-deep' || reason === 'too-many';
}

/** Whether the job's data exceeds the limits in bytes or depth. */
function isTooLarge(job: unknown): boolean {
  try {
    formatJson((job as { readonly data?: unknown } | null)?.data, { maxBytes: MAX_JOB_DATA_BYTES });
    return false;
  } catch (thrown) {
    return isLimit((thrown as JsonRefused).reason);
  }
}

function readJobLine({ number: line, text, fault = '', tooLong = false }: Line, folder: string): JobLine {
  if (text === undefined) return { line, problem: fault, tooLarge: tooLong };
  let value: unknown;
  try {
    value = parseJson(text, { maxBytes: MAX_LINE_BYTES, exact: true });
  } catch (thrown) {
    const { reason, message } = thrown as JsonRefused;
    return { line, problem: `${reason === 'malformed' ? 'is not JSON' : 'cannot be used'}: ${message}`, tooLarge: isLimit(reason) };
  }
  let id: string | undefined;
  let files: JobWithFiles['files'];
  try {
    const paths = pathsIn(value, folder);
    id = checkJobInput(
      paths === undefined ? value : { ...(value as JobInput), files: { ...(value as JobInput).files, ...paths.checked } },
    ).id;
    if (paths !== undefined) files = { ...(value as JobInput).files, ...paths.absolute };
  } catch (thrown) {
    return { line, problem: asPeerworkError(thrown).detail, tooLarge: isTooLarge(value) };
  }
  // Derived from the line's content and position, so that pushing the same file again adds nothing twice.
  id ??= `${line}-${createHash('sha256').update(text).digest('hex').slice(0, 16)}`;
  return { line, job: { ...(value as JobInput), id, ...(files !== undefined && { files }) } };
}

/** Any reference: what a path leads to is known once it is stored. */
const UNREAD: FileRef = { sha256: '0'.repeat(64), size: 0 };

/** Files that a line names by their paths; `checked` stands for them when the rest of the line is checked. */
function pathsIn(value: unknown, folder: string) {
  const { files } = Object(value) as { readonly files?: unknown };
  const paths = Object.entries(Object(files) as object).filter((entry): entry is [string, string] => typeof entry[1] === 'string');
  if (paths.length === 0 || Array.isArray(files)) return undefined;
  return {
    absolute: Object.fromEntries(paths.map(([name, path]) => [name, resolve(folder, path)])),
    checked: Object.fromEntries(paths.map(([name]) => [name, UNREAD])),
  };
}

/** What keeps a file of the job from being read; undefined if nothing does. */
async function fileProblem({ files = {} }: JobWithFiles): Promise<string | undefined> {
  for (const [name, path] of Object.entries(files)) {
    if (typeof path !== 'string') continue;
    try {
      await access(path, constants.R_OK);
      if (!(await stat(path)).isFile()) return `files[${JSON.stringify(name)}]: ${path} is not an ordinary file`;
    } catch (thrown) {
      return `files[${JSON.stringify(name)}]: ${fileError(thrown, 'file-missing', path).message}`;
    }
  }
  return undefined;
}
