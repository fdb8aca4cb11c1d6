import type { Command } from 'commander';
import { PeerworkError } from '../../errors.js';
import { fieldFacts } from '../../job/field-facts.js';
import { type ErrorPart, wordsOf as errorWords } from '../../kit/error-parts.js';
import { idPath } from '../../kit/id-path.js';
import type { HistoryEntry, JobPage, JobRecord, JobSummary } from '../../ledger/records.js';
import { writeFiles } from '../output-folder.js';
import { ApiClient } from './api-client.js';
import { instant, print, printJson, printTable, quietPipes } from './print.js';

const PAGE = 500;
const FOLLOW_MS = 500;
/** Limit of the API for one request. */
const MAX_RETRIED = 1_000_000;

/** Lists jobs, the newest first. */
export async function jobs(command: Command): Promise<number> {
  quietPipes();
  const api = await ApiClient.of(command, 'jobs');
  const { limit, json, state, channel, group, workgroup, retry } = command.opts<Record<string, string>>();
  const wanted = Number(limit ?? (retry ? MAX_RETRIED : 50));
  if (!Number.isSafeInteger(wanted) || wanted < 1)
    throw new PeerworkError('option-invalid', `--limit is "${limit}", but must be a whole number from 1`);
  if (retry) return retryAll(api, { state, channel, group, workgroup }, wanted, json !== undefined);
  const filter = Object.entries({ state, channel, group, workgroup }).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const found: JobSummary[] = [];
  let after: string | undefined;
  do {
    const query = new URLSearchParams([
      ...filter,
      ['limit', String(Math.min(PAGE, wanted - found.length))],
      ...(after === undefined ? [] : [['after', after] as const]),
    ] as [string, string][]);
    const page = await api.get<JobPage>(`v1/jobs?${query}`);
    found.push(...page.jobs);
    after = page.next;
  } while (after !== undefined && found.length < wanted);
  if (json) for (const job of found) printJson(job);
  else
    printTable(
      ['job', 'state', 'channel', 'group', 'attempts', 'worker', 'added', 'error'],
      found.map((job) => [
        job.id,
        job.waiting ?? job.state,
        job.channel,
        job.group ?? '-',
        `${job.attempts.made}/${job.attempts.allowed}`,
        job.worker?.name ?? '-',
        instant(job.createdAt),
        job.error?.code ?? '',
      ]),
    );
  return 0;
}

/** Retries failed or cancelled jobs. */
async function retryAll(
  api: ApiClient,
  filter: Readonly<Record<'state' | 'channel' | 'group' | 'workgroup', string | undefined>>,
  limit: number,
  asJson: boolean,
): Promise<number> {
  if (filter.state !== 'failed' && filter.state !== 'cancelled')
    throw new PeerworkError('option-invalid', '--retry goes with --state failed or --state cancelled');
  const result = await api.request<{ jobs: number }>('POST', 'v1/jobs/redrive', { ...filter, limit: Math.min(limit, MAX_RETRIED) });
  if (asJson) printJson(result);
  else print(`${result.jobs} ${result.jobs === 1 ? 'job waits' : 'jobs wait'} again`);
  return 0;
}

/** Fields formatted separately below; `parentFailure` matters only for jobs that have parents. */
const OWN = ['name', 'channel', 'group', 'parentFailure'] as const;

/** Shows one job, follows it until it ends, or acts on it. */
export async function job(command: Command): Promise<number> {
  quietPipes();
  const api = await ApiClient.of(command, 'job');
  const [given = ''] = command.args;
  const { files: folder, ...flags } = command.opts<Record<string, boolean | undefined> & { readonly files?: string }>();
  let record = await api.get<JobRecord>(idPath('v1/jobs', given, undefined, { prefix: 'true' }));
  const { id } = record;
  const path = idPath('v1/jobs', id);
  let changed = false;
  for (const verb of ['cancel', 'retry', 'reset'] as const) {
    if (!flags[verb]) continue;
    await api.request('POST', idPath('v1/jobs', id, verb));
    changed = true;
  }
  if (flags['delete']) {
    const result = await api.request<{ deleted: number }>('DELETE', path);
    if (flags['json']) printJson(result);
    else print(`${result.deleted} deleted`);
    return 0;
  }
  if (flags['follow']) record = await follow(api, id, flags['json'] === true);
  else if (changed) record = await api.get<JobRecord>(path);
  if (folder !== undefined) await saveFiles(api, record, folder);
  if (flags['json']) printJson(record);
  else show(record);
  return flags['follow'] && record.state !== 'completed' ? 1 : 0;
}

async function saveFiles(api: ApiClient, { id, settled }: JobRecord, folder: string): Promise<void> {
  const read = async function* (name: string): AsyncGenerator<Uint8Array> {
    const path = idPath('v1/jobs', id, `files/${name.split('/').map(encodeURIComponent).join('/')}`);
    yield* api.bytes(path);
  };
  await writeFiles(folder, settled?.files ?? {}, read);
}

/** Prints a job's log and progress until it has ended. */
async function follow(api: ApiClient, id: string, asJson: boolean): Promise<JobRecord> {
  let seen = 0;
  for (;;) {
    const record = await api.get<JobRecord>(idPath('v1/jobs', id));
    const { entries } = await api.get<{ entries: HistoryEntry[] }>(idPath('v1/jobs', id, 'history', { after: String(seen) }));
    for (const entry of entries) {
      seen = entry.seq;
      if (asJson) process.stderr.write(`${JSON.stringify(entry)}\n`);
      else print(`${instant(entry.at)}  ${entryText(entry)}`);
    }
    if (record.settled !== undefined && entries.length === 0) return record;
    await new Promise((resolve) => setTimeout(resolve, FOLLOW_MS));
  }
}

function entryText({ kind, body }: HistoryEntry): string {
  if (kind === 'progress') return `progress ${JSON.stringify(body)}`;
  const { line, code, message } = body as { readonly line?: string; readonly code?: string; readonly message?: string };
  return kind === 'error' ? `failed: ${code}: ${message}` : (line ?? JSON.stringify(body));
}

function show(record: JobRecord): void {
  const {
    id,
    name,
    channel,
    state,
    waiting,
    group,
    attempts,
    worker,
    parents,
    children,
    createdAt,
    startedAt,
    finishedAt,
    error,
    data,
    settled,
  } = record;
  const facts = fieldFacts(record, OWN, { instant, duration: (ms) => `${ms / 1_000} s` });
  const rows: [string, string | undefined][] = [
    ['id', id],
    ['name', name],
    ['state', waiting === undefined ? state : `${state} (${waiting})`],
    ['channel', channel],
    ['group', group],
    ...facts.map(([label, text]) => [label.toLowerCase(), text] satisfies [string, string]),
    ['attempts', `${attempts.made} of ${attempts.allowed}`],
    ['worker', worker?.name],
    ['parents', parents.join(' ') || undefined],
    ['children', children.join(' ') || undefined],
    ['added', instant(createdAt)],
    ['started', startedAt === undefined ? undefined : instant(startedAt)],
    ['ended', finishedAt === undefined ? undefined : instant(finishedAt)],
    ['error', error === undefined ? undefined : `${error.code}: ${error.message}`],
    ['thrown', error?.cause === undefined ? undefined : thrownText(error.cause)],
    ['data', JSON.stringify(data)],
    ['output', settled?.output === undefined ? undefined : JSON.stringify(settled.output)],
  ];
  const present = rows.filter((row): row is [string, string] => row[1] !== undefined);
  const width = Math.max(...present.map(([key]) => key.length));
  for (const [key, value] of present) print(`${key.padEnd(width)} ${value.replaceAll('\n', `\n${' '.repeat(width + 1)}`)}`);
}

/** Formats an error with its stack, followed by its parts and causes. */
function thrownText(part: ErrorPart): string {
  const { cause, parts = [], stack = errorWords({ ...part, parts: [] }) } = part;
  const details = [...parts.map((each) => `part: ${thrownText(each)}`), ...(cause === undefined ? [] : [`cause: ${thrownText(cause)}`])];
  return [stack, ...details].join('\n').replace(CONTROL, '?');
}

/** Control characters that a terminal would interpret. */
const CONTROL = /[^\P{Cc}\n]/gu;
