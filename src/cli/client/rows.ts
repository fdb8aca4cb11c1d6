import type { Command } from 'commander';
import { PeerworkError } from '../../errors.js';
import { GIVEN_MESSAGE } from '../../job/limits.js';
import { idPath } from '../../kit/id-path.js';
import { parseJson } from '../../kit/json.js';
import type { GroupRecord, ScheduleRecord, WorkerRecord, WorkgroupRecord } from '../../ledger/records.js';
import { ApiClient } from './api-client.js';
import { instant, milliseconds, print, printJson, printTable, quietPipes } from './print.js';

/** Commands for groups, workers, holds and schedules: without arguments they list, with a verb and an id they act. */

const GROUP_VERBS = ['pause', 'resume', 'retry', 'reset', 'cancel', 'delete', 'show'] as const;
const WORKER_VERBS = ['approve', 'revoke', 'drain', 'resume'] as const;
const SCHEDULE_VERBS = ['put', 'pause', 'resume', 'delete', 'show'] as const;

/** Lists groups, or applies a verb to one. */
export async function groups(command: Command): Promise<number> {
  quietPipes();
  const api = await ApiClient.of(command, 'groups');
  const json = command.opts()['json'] === true;
  const [verb, id] = verbAndId(command, GROUP_VERBS);
  if (verb !== undefined) {
    const path = idPath('v1/groups', id);
    if (verb === 'delete') await api.request('DELETE', path);
    else if (verb !== 'show') await api.request('POST', idPath('v1/groups', id, verb));
    if (verb !== 'delete') showGroups([await api.get<GroupRecord>(path)], json);
    return 0;
  }
  const all: GroupRecord[] = [];
  let after: string | undefined;
  do {
    const page = await api.get<{ groups: GroupRecord[]; next?: string }>(
      `v1/groups?limit=500${after === undefined ? '' : `&after=${encodeURIComponent(after)}`}`,
    );
    all.push(...page.groups);
    after = page.next;
  } while (after !== undefined);
  showGroups(all, json);
  return 0;
}

function showGroups(all: readonly GroupRecord[], json: boolean): void {
  if (json) for (const group of all) printJson(group);
  else
    printTable(
      ['group', 'progress', 'blocked', 'ready', 'leased', 'completed', 'failed', 'cancelled', ''],
      all.map(({ id, progress, counts, paused }) => [
        id,
        `${Math.floor(progress * 100)} %`,
        ...[counts.blocked, counts.ready, counts.leased, counts.completed, counts.failed, counts.cancelled].map(String),
        paused ? 'paused' : '',
      ]),
    );
}

interface WorkerRow extends WorkerRecord {
  readonly connected?: {
    readonly path: string;
    readonly running: number;
    readonly concurrency?: number;
    readonly platform?: string;
    readonly tier?: string;
    readonly roundTripMs?: number;
  };
}

/** Lists workers, or applies a verb to one. */
export async function workers(command: Command): Promise<number> {
  quietPipes();
  const api = await ApiClient.of(command, 'workers');
  const json = command.opts()['json'] === true;
  const [verb, name] = verbAndId(command, WORKER_VERBS);
  let { workers: all } = await api.get<{ workers: WorkerRow[] }>('v1/workers');
  if (verb !== undefined) {
    const { id } = oneWorker(all, name);
    await api.request('POST', idPath('v1/workers', id, verb));
    ({ workers: all } = await api.get<{ workers: WorkerRow[] }>('v1/workers'));
    all = all.filter((worker) => worker.id === id);
  }
  if (json) for (const worker of all) printJson(worker);
  else
    printTable(
      ['worker', 'link', 'running', 'round trip', 'platform', 'isolation', 'marks', 'id'],
      all.map(({ id, name, connected, approvedAt, revokedAt, drainedAt }) => [
        name,
        connected?.path ?? 'away',
        connected === undefined ? '-' : `${connected.running}/${connected.concurrency ?? '?'}`,
        connected?.roundTripMs === undefined ? '-' : `${Math.round(connected.roundTripMs)} ms`,
        connected?.platform ?? '-',
        tierOf(connected),
        [approvedAt && 'approved', revokedAt && 'revoked', drainedAt && 'drained'].filter(Boolean).join(' ') || '-',
        id,
      ]),
    );
  return 0;
}

/** Formats the isolation tier; the tier `process` is marked as being no sandbox. */
function tierOf(connected: WorkerRow['connected']): string {
  if (connected === undefined) return '-';
  return connected.tier === 'process' ? 'process (no wall)' : (connected.tier ?? 'unknown');
}

/** Finds a worker by name, id, or an unambiguous prefix of either. */
function oneWorker(all: readonly WorkerRow[], text: string): WorkerRow {
  const exact = all.filter(({ id, name }) => id === text || name === text);
  const found = exact.length > 0 ? exact : all.filter(({ id, name }) => id.startsWith(text) || name.startsWith(text));
  if (found.length > 1)
    throw new PeerworkError(
      'option-invalid',
      `${text} may be ${found.map(({ name, id }) => `${name} (${id})`).join(', ')}: name one by its id`,
    );
  if (found[0] === undefined) throw new PeerworkError('worker-unknown', text);
  return found[0];
}

/** `hold WORKGROUP 90s`, `hold WORKGROUP --release`, `hold WORKGROUP --max-running 3`, or without arguments the list. */
export async function hold(command: Command): Promise<number> {
  quietPipes();
  const api = await ApiClient.of(command, 'hold');
  const { json, release, maxRunning } = command.opts<{ json?: boolean; release?: boolean; maxRunning?: string }>();
  const [id, time] = command.args;
  let all: WorkgroupRecord[];
  if (id === undefined) ({ workgroups: all } = await api.get<{ workgroups: WorkgroupRecord[] }>('v1/workgroups?limit=500'));
  else {
    const path = idPath('v1/workgroups', id);
    if (maxRunning !== undefined) await api.request('PUT', path, { maxRunning: maxRunning === 'none' ? null : Number(maxRunning) });
    if (release) await api.request('POST', idPath('v1/workgroups', id, 'release'));
    if (time !== undefined) {
      // A bare number means seconds here, as in other commands that wait.
      const ms = milliseconds(/^\d+$/.test(time) ? `${time}s` : time);
      if (ms === undefined) throw new PeerworkError('option-invalid', `${time} is no time: write 30, 90s, 15m, 12h`);
      await api.request('POST', idPath('v1/workgroups', id, 'hold'), { ms });
    }
    all = [await api.get<WorkgroupRecord>(path)];
  }
  if (json) for (const workgroup of all) printJson(workgroup);
  else
    printTable(
      ['workgroup', 'held until', 'running', 'at most', 'rate'],
      all.map(({ id, heldUntil, running, maxRunning, rate, periodMs }) => [
        id,
        instant(heldUntil),
        String(running),
        maxRunning === undefined ? '-' : String(maxRunning),
        rate === undefined ? '-' : `${rate} in ${(periodMs ?? 0) / 1_000} s`,
      ]),
    );
  return 0;
}

/** Lists schedules, or applies a verb to one. */
export async function schedule(command: Command): Promise<number> {
  quietPipes();
  const api = await ApiClient.of(command, 'schedule');
  const { json, cron, timeZone, missed, job } = command.opts<{
    json?: boolean;
    cron?: string;
    timeZone?: string;
    missed?: string;
    job?: string;
  }>();
  const [verb, id] = verbAndId(command, SCHEDULE_VERBS);
  const path = idPath('v1/schedules', id);
  let all: ScheduleRecord[];
  if (verb === 'delete') {
    await api.request('DELETE', path);
    return 0;
  }
  if (verb === undefined) ({ schedules: all } = await api.get<{ schedules: ScheduleRecord[] }>('v1/schedules'));
  else if (verb === 'put') {
    if (cron === undefined || job === undefined) throw new PeerworkError('option-invalid', 'schedule put needs --cron and --job');
    let input: unknown;
    try {
      input = parseJson(job, GIVEN_MESSAGE);
    } catch (error) {
      throw new PeerworkError('option-invalid', `--job cannot be used: ${error instanceof Error ? error.message : error}`);
    }
    all = [
      await api.request<ScheduleRecord>('PUT', path, {
        cron,
        job: input,
        ...(timeZone !== undefined && { timeZone }),
        ...(missed !== undefined && { missed }),
      }),
    ];
  } else
    all = [await (verb === 'show' ? api.get<ScheduleRecord>(path) : api.request<ScheduleRecord>('POST', idPath('v1/schedules', id, verb)))];
  if (json) for (const each of all) printJson(each);
  else
    printTable(
      ['schedule', 'cron', 'time zone', 'missed', 'next', 'last', ''],
      all.map((each) => [
        each.id,
        each.cron,
        each.timeZone,
        each.missed,
        instant(each.nextAt),
        instant(each.lastAt),
        each.paused ? 'paused' : '',
      ]),
    );
  return 0;
}

/** Prints outcomes as NDJSON on stdout, starting after a cursor; with `--follow` forever. */
export async function results(command: Command): Promise<number> {
  quietPipes();
  const api = await ApiClient.of(command, 'results');
  const { after = '0', follow = false } = command.opts<{ after?: string; follow?: boolean }>();
  for await (const line of api.lines<unknown>('GET', `v1/results?after=${encodeURIComponent(after)}&follow=${follow}`))
    print(JSON.stringify(line));
  return 0;
}

function verbAndId<const V extends string>(command: Command, verbs: readonly V[]): readonly [verb: V | undefined, id: string] {
  const [text, id] = command.args;
  if (text === undefined) return [undefined, ''];
  const verb = verbs.find((one) => one === text);
  if (verb === undefined || id === undefined)
    throw new PeerworkError('option-invalid', verb === undefined ? `${text} is none of ${verbs.join(', ')}` : `${verb} needs an id`);
  return [verb, id];
}
