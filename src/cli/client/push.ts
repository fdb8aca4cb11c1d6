import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import type { Command } from 'commander';
import { PeerworkError } from '../../errors.js';
import { type FieldSpec, fieldSpec, jobFieldNames } from '../../job/job-fields.js';
import { GIVEN_MESSAGE } from '../../job/limits.js';
import { parseJson } from '../../kit/json.js';
import { ApiClient } from './api-client.js';
import { milliseconds, print, printJson, quietPipes } from './print.js';

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
  const flags: Readonly<Record<string, string | boolean | undefined>> = command.opts();
  const [file] = command.args;
  const asJson = flags['json'] === true;
  if (flags['data'] !== undefined) return pushJobs(api, [oneJob(flags)], asJson);
  if (file === undefined) throw new PeerworkError('option-invalid', 'name a file, - for stdin, or --data');
  if (file.endsWith('.json')) {
    const jobs = parsed(await readFile(file).catch((error: Error) => Promise.reject(unreadable(file, error))), file);
    return pushJobs(api, Array.isArray(jobs) ? jobs : [jobs], asJson);
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
    body: Readable.toWeb(source),
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

function oneJob(flags: Readonly<Record<string, string | boolean | undefined>>): unknown {
  const job: Record<string, unknown> = { data: parsed(String(flags['data']), '--data') };
  for (const field of jobFieldNames) {
    const { flag: [usage = ''] = [], kind } = fieldSpec(field);
    const name = /^--([\w-]+)/.exec(usage)?.[1] ?? '';
    const given = flags[name];
    if (given !== undefined) job[field] = readFlag(kind, given, name);
  }
  return job;
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
