import { PeerworkError } from '../errors.js';
import type { Json, ParentFailure } from '../job/job.js';
import type { Statements, Value } from './driver.js';
import { jobSummary, SUMMARY, SUMMARY_FROM, type SummaryRow } from './job-record.js';
import { repeated, sized } from './lists.js';
import { noJobs } from './read.js';
import type { ChannelRecord, GroupGraph, GroupRecord, JobFilter, JobPage, JobState, WorkgroupRecord } from './records.js';
import { storedJson } from './stored-json.js';
import type { Transaction } from './transaction.js';
import { weightOf } from './weight.js';

export async function listJobs(
  transaction: Transaction,
  filter: JobFilter,
  page: { readonly after?: string; readonly limit: number; readonly oldestFirst?: boolean },
  now: number,
): Promise<JobPage> {
  const conditions: string[] = [];
  const values: Value[] = [];
  const where = (condition: string, ...given: readonly Value[]) => {
    conditions.push(condition);
    values.push(...given);
  };
  if (filter.state !== undefined) where('job.state = ?', filter.state);
  if (filter.channel !== undefined) where('job.channel = ?', filter.channel);
  if (filter.group !== undefined) where('job.grp = (SELECT seq FROM grp WHERE id = ?)', filter.group);
  if (filter.workgroup !== undefined) where('job.workgroup = (SELECT seq FROM workgroup WHERE id = ?)', filter.workgroup);
  if (filter.idPrefix !== undefined) {
    where('job.id >= ?', filter.idPrefix);
    const end = afterPrefix(filter.idPrefix);
    if (end !== undefined) where('job.id < ?', end);
  }
  const { after, limit, oldestFirst = false } = page;
  if (after !== undefined) {
    const seq = Number(after);
    if (!Number.isSafeInteger(seq) || seq < 0) throw new PeerworkError('request-invalid', 'after is not what a page before it gave');
    where(oldestFirst ? 'job.seq > ?' : 'job.seq < ?', seq);
  }
  // Few jobs run at a time: finding them by lease and sorting them is faster than walking over all jobs in order.
  const order = filter.state === 'leased' ? 'job.seq + 0' : 'job.seq';
  const rows = await transaction.all<SummaryRow>(
    `${SUMMARY} ${SUMMARY_FROM}${conditions.length > 0 ? ` WHERE ${conditions.join(' AND ')}` : ''}
    ORDER BY ${order} ${oldestFirst ? 'ASC' : 'DESC'} LIMIT ?`,
    [...values, limit + 1],
  );
  const shown = rows.slice(0, limit);
  const last = shown[shown.length - 1];
  return { jobs: shown.map((row) => jobSummary(row, now)), ...(rows.length > limit && last !== undefined && { next: String(last.seq) }) };
}

const LIKE = 'SELECT id FROM job WHERE id >= ? AND id < ? ORDER BY id LIMIT ?';
const FROM = 'SELECT id FROM job WHERE id >= ? ORDER BY id LIMIT ?';

export async function idsLike(sql: Statements, prefix: string, limit: number): Promise<string[]> {
  const end = afterPrefix(prefix);
  const rows = await (end === undefined
    ? sql.all<{ id: string }>(FROM, [prefix, limit])
    : sql.all<{ id: string }>(LIKE, [prefix, end, limit]));
  return rows.map(({ id }) => id);
}

const MAX_CODE_POINT = 0x10ffff;
const [BEFORE_SURROGATES, AFTER_SURROGATES] = [0xd7ff, 0xe000];

/** Returns the smallest text that is greater, by bytes, than every text with this prefix; undefined if there is none. */
function afterPrefix(prefix: string): string | undefined {
  const points = Array.from(prefix, (character) => character.codePointAt(0) as number);
  while (points.at(-1) === MAX_CODE_POINT) points.pop();
  const last = points.pop();
  if (last === undefined) return undefined;
  return String.fromCodePoint(...points, last === BEFORE_SURROGATES ? AFTER_SURROGATES : last + 1);
}

const CHANNELS = 'SELECT channel, state, CAST(SUM(jobs) AS INTEGER) AS jobs FROM tally GROUP BY channel, state ORDER BY channel';

export async function listChannels(transaction: Transaction): Promise<ChannelRecord[]> {
  await transaction.flush();
  const channels = new Map<string, Record<JobState, number>>();
  for (const { channel, state, jobs } of await transaction.all<{ channel: string; state: JobState; jobs: number }>(CHANNELS)) {
    const counts = channels.get(channel) ?? { ...noJobs };
    counts[state] = jobs;
    channels.set(channel, counts);
  }
  return [...channels].filter(([, counts]) => Object.values(counts).some((jobs) => jobs !== 0)).map(([name, counts]) => ({ name, counts }));
}

interface GroupRow {
  readonly seq: number;
  readonly id: string;
  readonly name: string | null;
  readonly paused: 0 | 1;
  readonly parent_failure: ParentFailure;
  readonly retain_ms: number | null;
  readonly created_at: number;
  readonly meta: string | null;
}

const GROUP_COLUMNS = 'seq, id, name, paused, parent_failure, retain_ms, created_at, meta';
const GROUP = `SELECT ${GROUP_COLUMNS} FROM grp WHERE id = ?`;
const GROUPS = `SELECT ${GROUP_COLUMNS} FROM grp WHERE id > ? ORDER BY id LIMIT ?`;
const GROUP_TALLIES = sized(
  (count) => `SELECT grp, state, CAST(SUM(jobs) AS INTEGER) AS jobs, CAST(SUM(weight) AS INTEGER) AS weight,
  CAST(SUM(weight_part) AS INTEGER) AS weight_part FROM grp_tally
  WHERE grp IN (${repeated('?', count)}) GROUP BY grp, state`,
);

export async function getGroup(transaction: Transaction, id: string): Promise<GroupRecord | undefined> {
  return (await groupRecords(transaction, await transaction.all<GroupRow>(GROUP, [id])))[0];
}

export async function listGroups(
  transaction: Transaction,
  { after = '', limit }: { readonly after?: string; readonly limit: number },
): Promise<{ readonly groups: readonly GroupRecord[]; readonly next?: string }> {
  const rows = await transaction.all<GroupRow>(GROUPS, [after, limit + 1]);
  const groups = await groupRecords(transaction, rows.slice(0, limit));
  return { groups, ...nextPage(rows, groups, limit) };
}

async function groupRecords(transaction: Transaction, rows: readonly GroupRow[]): Promise<GroupRecord[]> {
  await transaction.flush();
  const tallies = await transaction.allOf<{ grp: number; state: JobState; jobs: number; weight: number; weight_part: number }>(
    GROUP_TALLIES,
    rows.map(({ seq }) => seq),
  );
  return rows.map((row) => {
    const counts = { ...noJobs };
    let weight = 0;
    let done = 0;
    for (const tally of tallies) {
      if (tally.grp !== row.seq) continue;
      counts[tally.state] = tally.jobs;
      weight += weightOf(tally);
      if (tally.state === 'completed') done = weightOf(tally);
    }
    return {
      id: row.id,
      name: row.name ?? row.id,
      paused: row.paused === 1,
      parentFailure: row.parent_failure,
      ...(row.retain_ms !== null && { retainMs: row.retain_ms }),
      createdAt: row.created_at,
      ...(row.meta !== null && { meta: storedJson<Json>(row.meta) }),
      counts,
      progress: weight === 0 ? 0 : Math.min(1, done / weight),
    };
  });
}

const NODES = 'SELECT seq, id, name, channel, state FROM job WHERE grp = (SELECT seq FROM grp WHERE id = ?) ORDER BY seq LIMIT ?';
const EDGES = sized((count) => `SELECT parent, child FROM edge WHERE child IN (${repeated('?', count)}) ORDER BY child, place`);

export async function graphOf(transaction: Transaction, id: string, limit: number): Promise<GroupGraph | undefined> {
  if ((await transaction.all(GROUP, [id])).length === 0) return undefined;
  const rows = await transaction.all<{ seq: number; id: string; name: string | null; channel: string; state: JobState }>(NODES, [
    id,
    limit + 1,
  ]);
  const nodes = rows.slice(0, limit);
  const places = new Map(nodes.map(({ seq }, index) => [seq, index]));
  const edges = await transaction.allOf<{ parent: number; child: number }>(EDGES, [...places.keys()]);
  return {
    nodes: nodes.map((node) => ({
      id: node.id,
      ...(node.name !== null && { name: node.name }),
      channel: node.channel,
      state: node.state,
    })),
    edges: edges.flatMap(({ parent, child }) => {
      const from = places.get(parent);
      const to = places.get(child);
      return from === undefined || to === undefined ? [] : [[from, to] as const];
    }),
    truncated: rows.length > limit,
  };
}

interface WorkgroupRow {
  readonly id: string;
  readonly held_until: number | null;
  readonly max_running: number | null;
  readonly rate: number | null;
  readonly period_ms: number | null;
  readonly running: number;
}

const WORKGROUP = `SELECT id, held_until, max_running, rate, period_ms,
  (SELECT COUNT(*) FROM job WHERE job.workgroup = workgroup.seq AND job.state = 'leased' AND job.workgroup IS NOT NULL) AS running FROM workgroup`;

export async function getWorkgroup(transaction: Transaction, id: string): Promise<WorkgroupRecord | undefined> {
  return (await transaction.all<WorkgroupRow>(`${WORKGROUP} WHERE id = ?`, [id])).map(workgroupRecord)[0];
}

export async function listWorkgroups(
  transaction: Transaction,
  { after = '', limit }: { readonly after?: string; readonly limit: number },
): Promise<{ readonly workgroups: readonly WorkgroupRecord[]; readonly next?: string }> {
  const rows = await transaction.all<WorkgroupRow>(`${WORKGROUP} WHERE id > ? ORDER BY id LIMIT ?`, [after, limit + 1]);
  const workgroups = rows.slice(0, limit).map(workgroupRecord);
  return { workgroups, ...nextPage(rows, workgroups, limit) };
}

function workgroupRecord({ id, held_until, max_running, rate, period_ms, running }: WorkgroupRow): WorkgroupRecord {
  return {
    id,
    ...(held_until !== null && { heldUntil: held_until }),
    ...(max_running !== null && { maxRunning: max_running }),
    ...(rate !== null && { rate }),
    ...(period_ms !== null && { periodMs: period_ms }),
    running,
  };
}

function nextPage(rows: readonly unknown[], shown: readonly { readonly id: string }[], limit: number): { readonly next?: string } {
  const last = shown[shown.length - 1];
  return rows.length > limit && last !== undefined ? { next: last.id } : {};
}
