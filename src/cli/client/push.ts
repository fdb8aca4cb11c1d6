import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Readable } from 'node:stream';
import type { Command } from 'commander';
import { PeerworkError } from '../../errors.js';
import { type FieldSpec, fieldSpec, jobFieldNames } from '../../job/job-fields.js';
import { GIVEN_MESSAGE, MAX_MESSAGE_BYTES } from '../../job/limits.js';
import { parseJson, tryParseJson } from '../../kit/json.js';
import { ApiClient } from './api-client.js';
import { milliseconds, print, printJson, quietPipes } from './print.js';
import { uploadFile } from './upload-file.js';

type Flag = string | boolean | readonly string[] | undefined;

interface Summary {
  readonly added: number;
  readonly known: number;
  readonly refused: number;
}
type PushReply =
  | { readonly line: number; readonly problem: { readonly detail: string; readonly code: string } }
  | { readonly summary: Summary };

/**
 * Pushes one job (`--data`), or several from a file or stdin: one per line, or a `.json` file with one job or a list. Exit code 1
 * if some were refused.
 */
export async function push(command: Command): Promise<number> {
  quietPipes();
  const api = await ApiClient.of(command, 'push');
  const flags: Readonly<Record<string, Flag>> = command.opts();
  const [file] = command.args;
  const asJson = flags['json'] === true;
  if (flags['data'] !== undefined) return pushJobs(api, [await withFilesStored(api, oneJob(flags), process.cwd())], asJson);
  if (file === undefined) throw new PeerworkError('option-invalid', 'name a file, - for stdin, or --data');
  if (file.endsWith('.json')) {
    const jobs = parsed(await readFile(file).catch((error: Error) => Promise.reject(unreadable(file, error))), file);
    const list: unknown[] = [];
    for (const job of Array.isArray(jobs) ? jobs : [jobs]) list.push(await withFilesStored(api, job, dirname(resolve(file))));
    return pushJobs(api, list, asJson);
  }
  return pushLines(api, file, asJson);
}

async function pushJobs(api: ApiClient, inputs: readonly unknown[], asJson: boolean): Promise<number> {
  const { jobs } = await api.request<{ jobs: { id: string; added: boolean }[] }>('POST', 'v1/jobs', inputs);
  if (asJson) for (const job of jobs) printJson(job);
  else for (const { id, added } of jobs) print(added ? id : `${id} (known already)`);
  return 0;
}

async function pushLines(api: ApiClient, file: string, asJson: boolean): Promise<number> {
  const source = file === '-' ? process.stdin : createReadStream(file);
  const broken = new Promise<never>((_resolve, reject) => source.once('error', (error: Error) => reject(unreadable(file, error))));
  broken.catch(() => {});
  // A file that cannot be opened is refused before anything is sent.
  if (file !== '-') await Promise.race([new Promise((resolve) => source.once('open', resolve)), broken]);
  const init = {
    headers: { 'content-type': 'application/x-ndjson' },
    body: Readable.toWeb(Readable.from(linesStored(api, source, file === '-' ? process.cwd() : dirname(resolve(file))))),
    duplex: 'half',
  } as unknown as RequestInit;
  let summary: Summary | undefined;
  for await (const answer of api.lines<PushReply>('POST', 'v1/jobs?answers=problems', init)) {
    if ('summary' in answer) summary = answer.summary;
    else process.stderr.write(`line ${answer.line}: ${answer.problem.detail} [${answer.problem.code}]\n`);
  }
  if (summary === undefined)
    throw new PeerworkError('api-unreachable', 'the response was cut off: push again; with ids, no job is added twice');
  if (asJson) printJson(summary);
  else
    print(
      `${summary.added} added${summary.known > 0 ? `, ${summary.known} known already` : ''}${summary.refused > 0 ? `, ${summary.refused} refused` : ''}`,
    );
  return summary.refused > 0 ? 1 : 0;
}

const NEWLINE = 10;
const FILES = '"files"';

/** The lines as they are, but for paths of files: their content is stored first, and references take their place. */
async function* linesStored(api: ApiClient, source: AsyncIterable<Buffer>, folder: string): AsyncGenerator<Buffer, void, undefined> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of source) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    // Of a line that the Master refuses for its length nothing is kept here.
    const end = bytes.length > MAX_MESSAGE_BYTES ? bytes.length : bytes.lastIndexOf(NEWLINE) + 1;
    rest = bytes.subarray(end);
    yield* storedLines(api, bytes.subarray(0, end), folder);
  }
  yield* storedLines(api, rest, folder);
}

async function* storedLines(api: ApiClient, bytes: Buffer, folder: string): AsyncGenerator<Buffer, void, undefined> {
  if (!bytes.includes(FILES)) {
    yield bytes;
    return;
  }
  for (let from = 0; from < bytes.length; ) {
    const newline = bytes.indexOf(NEWLINE, from);
    const end = newline === -1 ? bytes.length : newline + 1;
    const line = bytes.subarray(from, end);
    from = end;
    const job = line.includes(FILES) ? tryParseJson(line, GIVEN_MESSAGE) : undefined;
    yield job === undefined ? line : Buffer.from(`${JSON.stringify(await withFilesStored(api, job, folder))}\n`);
  }
}

/** The job with the content of its files stored: paths, relative to `folder`, become references. What is wrong with it is for the Master to say. */
async function withFilesStored(api: ApiClient, job: unknown, folder: string): Promise<unknown> {
  const { files } = Object(job) as { readonly files?: unknown };
  if (typeof files !== 'object' || files === null || Array.isArray(files)) return job;
  const stored: [string, unknown][] = [];
  for (const [name, source] of Object.entries(files))
    stored.push([name, typeof source === 'string' ? await uploadFile(api, resolve(folder, source)) : source]);
  return { ...(job as object), files: Object.fromEntries(stored) };
}

function oneJob(flags: Readonly<Record<string, Flag>>): unknown {
  const job: Record<string, unknown> = { data: parsed(String(flags['data']), '--data') };
  if (Array.isArray(flags['file'])) job['files'] = Object.fromEntries(flags['file'].map(namedFile));
  for (const field of jobFieldNames) {
    const { flag: [usage = ''] = [], kind } = fieldSpec(field);
    const name = /^--([\w-]+)/.exec(usage)?.[1] ?? '';
    const given = flags[name];
    if (given !== undefined && !Array.isArray(given)) job[field] = readFlag(kind, given as string | boolean, name);
  }
  return job;
}

/** `name=path`. */
function namedFile(given: string): readonly [name: string, path: string] {
  const at = given.indexOf('=');
  if (at < 1 || at === given.length - 1) throw new PeerworkError('option-invalid', `--file ${given} is not name=path`);
  return [given.slice(0, at), given.slice(at + 1)];
}

/** Converts a flag to a field's value. The Master checks the field's limits. */
function readFlag(kind: FieldSpec['kind'], given: string | boolean, name: string): unknown {
  if (typeof given === 'boolean' || kind === 'text' || kind === 'choice') return given;
  if (kind === 'texts' || kind === 'labels') return given.split(',');
  if (kind !== 'duration') return Number(given);
  const ms = milliseconds(given);
  if (ms === undefined) throw new PeerworkError('option-invalid', `--${name} must be a time such as 500ms, 90s, 15m, 12h, 7d`);
  return ms;
}

function parsed(text: string | Uint8Array, what: string): unknown {
  try {
    return parseJson(text, GIVEN_MESSAGE);
  } catch (error) {
    throw new PeerworkError('option-invalid', `${what} is no JSON that can be used: ${error instanceof Error ? error.message : error}`);
  }
}

function unreadable(file: string, error: Error): PeerworkError {
  return new PeerworkError('option-invalid', `${file} cannot be read: ${error.message}`);
}
