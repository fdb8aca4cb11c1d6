import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import type { Command } from 'commander';
import { PeerworkError } from '../../errors.js';
import type { JobInput } from '../../job/job.js';
import { GIVEN_MESSAGE } from '../../job/limits.js';
import { parseJson } from '../../kit/json.js';
import { ApiClient } from './api-client.js';
import { milliseconds, print, printJson, quietPipes } from './print.js';

interface Summary {
  readonly added: number;
  readonly known: number;
  readonly refused: number;
}
type Answer =
  | { readonly line: number; readonly problem: { readonly detail: string; readonly code: string } }
  | { readonly summary: Summary };

/** Pushes one job (`--data`), or a file or stdin of them: a line each, or a `.json` file with one or a list. 1 if some were refused. */
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
  const { jobs } = await api.ask<{ jobs: { id: string; added: boolean }[] }>('POST', 'v1/jobs', inputs);
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
  for await (const answer of api.lines<Answer>('POST', 'v1/jobs?answers=problems', init)) {
    if ('summary' in answer) summary = answer.summary;
    else process.stderr.write(`line ${answer.line}: ${answer.problem.detail} [${answer.problem.code}]\n`);
  }
  if (summary === undefined)
    throw new PeerworkError('api-unreachable', 'the answer was cut off: push again, nothing is added twice if the jobs have ids');
  if (asJson) printJson(summary);
  else
    print(
      `${summary.added} added${summary.known > 0 ? `, ${summary.known} known already` : ''}${summary.refused > 0 ? `, ${summary.refused} refused` : ''}`,
    );
  return summary.refused > 0 ? 1 : 0;
}

function oneJob(flags: Readonly<Record<string, string | boolean | undefined>>): JobInput {
  const text = (name: string) => (typeof flags[name] === 'string' ? { [name]: flags[name] } : {});
  const delay = flags['delay'] === undefined ? undefined : milliseconds(String(flags['delay']));
  if (flags['delay'] !== undefined && delay === undefined)
    throw new PeerworkError('option-invalid', '--delay must be a time such as 500ms, 90s, 15m, 12h, 7d');
  const number = flags['priority'];
  return {
    data: parsed(String(flags['data']), '--data') as JobInput['data'],
    ...text('id'),
    ...text('channel'),
    ...text('group'),
    ...text('key'),
    ...text('workgroup'),
    ...(number !== undefined && { priority: Number(number) }),
    ...(delay !== undefined && { delayMs: delay }),
    ...(typeof flags['after'] === 'string' && { parents: flags['after'].split(',') }),
  };
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
