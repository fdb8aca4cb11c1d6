import { describeError, PeerworkError } from '../errors.js';
import type { JobFiles } from '../job/files.js';
import type { CheckedJob } from '../job/job-fields.js';
import type { Value } from './driver.js';
import { endRuns } from './end-runs.js';
import { nameFiles } from './files.js';
import { findCycle, recount } from './graph.js';
import { storedFields } from './job-columns.js';
import { isEnded, RUN_COLUMNS, type RunRow } from './job-row.js';
import { padded, pieces, repeated, sized, valuesOf } from './lists.js';
import type { Adding } from './operations.js';
import { readRuns, readRunsBySeq } from './read-runs.js';
import type { AddedJob } from './requests.js';
import { groupsNamed, workgroupsNamed } from './rows-by-name.js';
import { failWithoutRun, type RunEnd } from './run-end.js';
import { storedJson } from './stored-json.js';
import type { Transaction } from './transaction.js';
import { weightColumns } from './weight.js';

const LATEST = `SELECT ${RUN_COLUMNS}, job.output, job.outcome_files, job.finished_at FROM job WHERE job.merge_key IS NOT NULL AND job.state = 'completed'
  AND job.channel = ? AND job.merge_key = ? AND job.finished_at >= ? ORDER BY job.finished_at DESC LIMIT 1`;

/** Columns that differ for every job. */
const OWN = ['seq', 'id', 'data'];
/** Columns derived from several fields, or from rows in other tables. */
const DERIVED = {
  lane: 'INTEGER',
  state: 'TEXT',
  plain: 'INTEGER',
  run_at: 'INTEGER',
  pending: 'INTEGER',
  parents: 'INTEGER',
  grp: 'INTEGER',
  workgroup: 'INTEGER',
  weight: 'INTEGER',
  weight_part: 'INTEGER',
  created_at: 'INTEGER',
  dated_at: 'INTEGER',
} as const;
/**
 * Fields that are stored as they are. Except for OWN, all columns are often the same for a whole list, because it comes from one program.
 */
const PLAIN = storedFields.filter(({ column }) => !OWN.includes(column) && !(column in DERIVED));
const SHARED_TYPES = [...Object.values(DERIVED), ...PLAIN.map(({ type }) => type)];
const COLUMNS = [...OWN, ...Object.keys(DERIVED), ...PLAIN.map(({ column }) => column)];
const INSERT = `INSERT INTO job (${COLUMNS.join(', ')})`;
const ADD = sized((count) => `${INSERT} VALUES ${repeated(`(${repeated('?', COLUMNS.length)})`, count)} ON CONFLICT DO NOTHING`);
/**
 * Binding a value in SQLite costs about 1 µs, so shared values are bound once. The `WHERE` is needed because SQLite would parse `ON` as
 * part of a join.
 */
const ADD_SHARED = sized((count) => {
  const shared = SHARED_TYPES.map((type) => `CAST(? AS ${type})`);
  return `${INSERT} SELECT v.column1, v.column2, v.column3, ${shared.join(', ')}
  FROM (${valuesOf(['INTEGER', 'TEXT', 'TEXT'], count)}) AS v WHERE v.column1 > 0 ON CONFLICT DO NOTHING`;
});
const PRESENT = sized((count) => `SELECT seq FROM job WHERE seq IN (${repeated('?', count)})`);
const EDGE = sized((count) => `INSERT INTO edge (parent, child, place) VALUES ${repeated('(?, ?, ?)', count)} ON CONFLICT DO NOTHING`);
const HAVE_CHILDREN = sized((count) => `UPDATE job SET plain = 0 WHERE plain = 1 AND seq IN (${repeated('?', count)})`);

/** Adds checked jobs in order. Throws `parent-unknown`, `graph-cycle` or `file-unknown`; the transaction must then be rolled back. */
export async function addJobs(transaction: Transaction, jobs: readonly CheckedJob[], adding: Adding): Promise<AddedJob[]> {
  const { now } = adding;
  const first = await transaction.draw('job', jobs.length);
  const ids = jobs.map((job, index) => job.id ?? generateId(first + index, adding.random));
  const graph = jobs.some(({ parents }) => parents.length > 0) ? await graphOf(transaction, jobs, ids) : undefined;
  const places = await placesOf(transaction, jobs, adding);
  const rows = jobs.map((job, index): Value[] => {
    const runAt = job.runAt ?? (job.delayMs > 0 ? now + job.delayMs : undefined);
    const { lane, grp, workgroup } = places(index);
    if (runAt !== undefined && runAt > now) transaction.due(runAt);
    const { weight, weight_part } = weightColumns(job.weight);
    const plain = job.key === undefined && !job.persistent && graph?.inner.has(index) !== true;
    const row: Value[] = [
      first + index,
      ids[index] ?? '',
      job.data,
      lane,
      job.parents.length > 0 ? 'blocked' : 'ready',
      plain ? 1 : 0,
      runAt !== undefined && runAt > now ? runAt : null,
      job.parents.length,
      job.parents.length,
      grp,
      workgroup,
      weight,
      weight_part,
      now,
      job.runAt ?? null,
    ];
    for (const { field, encode } of PLAIN) row.push(encode(job[field]));
    return row;
  });
  const added = await insert(transaction, rows);
  for (const [index, job] of jobs.entries()) {
    const { grp } = places(index);
    if (added(index))
      transaction.moved(
        { id: ids[index] ?? '', channel: job.channel, grp, ...weightColumns(job.weight) },
        undefined,
        job.parents.length > 0 ? 'blocked' : 'ready',
      );
  }
  const withFiles = jobs.flatMap(({ files }, index) => (files !== undefined && added(index) ? [{ seq: first + index, files }] : []));
  if (withFiles.length > 0) await nameFiles(transaction, withFiles, now);
  if (graph !== undefined) await insertEdges(transaction, jobs, ids, first, added, graph, now);
  const windowed = jobs.flatMap(({ keyWindowMs }, index) =>
    keyWindowMs !== undefined && added(index) ? [{ seq: first + index, keyWindowMs }] : [],
  );
  if (windowed.length > 0) await shareOutcomes(transaction, windowed, now);
  return ids.map((id, index) => ({ id, added: added(index) }));
}

/** Inserts the rows. Returns a predicate for the indexes that were new. */
interface LatestRow extends RunRow {
  readonly output: string;
  readonly outcome_files: string | null;
  readonly finished_at: number;
}

async function insert(transaction: Transaction, rows: readonly Value[][]): Promise<(index: number) => boolean> {
  const first = rows[0]?.[0] as number;
  const shared = sharedBy(rows);
  let known: Set<number> | undefined;
  for (const piece of pieces(rows)) {
    const list = padded(piece);
    const changed =
      shared === undefined
        ? await transaction.run(ADD(list.length), list.flat())
        : await transaction.run(ADD_SHARED(list.length), [...shared, ...list.flatMap((row) => row.slice(0, OWN.length))]);
    if (changed !== piece.length) {
      const seqs = piece.map(([seq]) => seq as number);
      const present = new Set((await transaction.allOf<{ seq: number }>(PRESENT, seqs)).map(({ seq }) => seq));
      known ??= new Set();
      for (const seq of seqs) if (!present.has(seq)) known.add(seq - first);
    }
  }
  return (index) => known?.has(index) !== true;
}

/** Returns the values that all rows share besides their OWN columns; undefined if they differ. */
function sharedBy(rows: readonly Value[][]): readonly Value[] | undefined {
  const [first, ...others] = rows;
  if (first === undefined || others.length === 0) return undefined;
  const isShared = (value: Value, at: number) => at < OWN.length || value === first[at];
  return others.every((row) => row.every(isShared)) ? first.slice(OWN.length) : undefined;
}

/** Resolves each job's lane, group and workgroup to their numbers. */
async function placesOf(
  transaction: Transaction,
  jobs: readonly CheckedJob[],
  { lanes, now, grp }: Adding,
): Promise<(index: number) => { readonly lane: number; readonly grp: number | null; readonly workgroup: number | null }> {
  const named = (field: 'group' | 'workgroup') => jobs.flatMap((job) => job[field] ?? []);
  const groups = grp === undefined ? await groupsNamed(transaction, named('group'), now) : undefined;
  const workgroups = await workgroupsNamed(transaction, named('workgroup'));
  const laneSeqs: number[] = [];
  for (const { channel, requires } of jobs) laneSeqs.push(await lanes.seqOf(transaction, channel, requires));
  return (index) => ({
    lane: laneSeqs[index] ?? 0,
    grp: grp === undefined ? (groups?.get(jobs[index]?.group ?? '') ?? null) : grp,
    workgroup: workgroups.get(jobs[index]?.workgroup ?? '') ?? null,
  });
}

interface Graph {
  /** Indexes of the jobs that are parents of others in the list. */
  readonly inner: ReadonlySet<number>;
  readonly indexOf: ReadonlyMap<string, number>;
  /** Parents that were already in the ledger; their rows are locked. */
  readonly known: Map<string, RunRow>;
}

async function graphOf(transaction: Transaction, jobs: readonly CheckedJob[], ids: readonly string[]): Promise<Graph> {
  const indexOf = new Map<string, number>();
  for (const [index, id] of ids.entries()) if (!indexOf.has(id)) indexOf.set(id, index);
  const outside = new Set<string>();
  const inner = new Set<number>();
  const inList = jobs.map(({ parents }) => {
    const indexes: number[] = [];
    for (const id of parents) {
      const index = indexOf.get(id);
      if (index === undefined) outside.add(id);
      else {
        indexes.push(index);
        inner.add(index);
      }
    }
    return indexes;
  });
  const known = await readRuns(transaction, [...outside]);
  for (const id of outside) if (!known.has(id)) throw new PeerworkError('parent-unknown', id);
  const cycle = findCycle(jobs.length, (index) => inList[index] ?? []);
  if (cycle !== undefined) throw new PeerworkError('graph-cycle', pathOf(cycle.map((index) => ids[index] ?? '')));
  return { inner, indexOf, known };
}

/** Inserts the edges. Children with parents that have already ended wait only for the others. */
async function insertEdges(
  transaction: Transaction,
  jobs: readonly CheckedJob[],
  ids: readonly string[],
  first: number,
  added: (index: number) => boolean,
  { inner, indexOf, known }: Graph,
  now: number,
): Promise<void> {
  // A parent in the list whose id was already known refers to the job in the ledger.
  const older = [...inner].filter((index) => !added(index)).map((index) => ids[index] ?? '');
  for (const [id, row] of await readRuns(transaction, older)) known.set(id, row);
  const edges: (readonly [number, number, number])[] = [];
  const touched = new Set<RunRow>();
  const recounted = new Set<number>();
  for (const [index, { parents }] of jobs.entries()) {
    if (!added(index)) continue;
    for (const [place, id] of parents.entries()) {
      const row = known.get(id);
      edges.push([row?.seq ?? first + (indexOf.get(id) ?? 0), first + index, place]);
      if (row !== undefined) touched.add(row);
      if (row !== undefined && isEnded(row.state)) recounted.add(first + index);
    }
  }
  for (const piece of pieces(edges)) {
    const list = padded(piece);
    await transaction.run(EDGE(list.length), list.flat());
  }
  await transaction.runOf(
    HAVE_CHILDREN,
    [...touched].map(({ seq }) => seq),
  );
  if (recounted.size === 0) return;
  const failed = await recount(transaction, await readRunsBySeq(transaction, [...recounted]));
  await endRuns(
    transaction,
    failed.map(({ row, parent }) => failWithoutRun(row, { code: 'parent-failed', message: describeError('parent-failed', parent) }, now)),
    now,
  );
}

function pathOf(ids: readonly string[]): string {
  const shown = ids.slice(0, 6);
  return [...shown, ids.length > shown.length ? '…' : ids[0]].join(' → ');
}

/** Sorts by age, so that the index of ids grows at its end; the random part avoids collisions with ids chosen by users. */
function generateId(seq: number, random: () => number): string {
  return `${seq.toString(36).padStart(7, '0')}-${Math.floor(random() * 36 ** 6)
    .toString(36)
    .padStart(6, '0')}`;
}

/** Completes jobs that accept a recent outcome (`keyWindowMs`) with that of the latest duplicate that completed within their window. */
async function shareOutcomes(
  transaction: Transaction,
  jobs: readonly { readonly seq: number; readonly keyWindowMs: number }[],
  now: number,
): Promise<void> {
  const windows = new Map(jobs.map(({ seq, keyWindowMs }) => [seq, keyWindowMs]));
  const rows = await readRunsBySeq(transaction, [...windows.keys()]);
  const ends: RunEnd[] = [];
  for (const row of rows) {
    const from = now - (windows.get(row.seq) ?? 0);
    const [duplicate] = await transaction.all<LatestRow>(LATEST, [row.channel, row.merge_key, from]);
    if (duplicate === undefined) continue;
    const { output, outcome_files: files, started_at: startedAt, finished_at: finishedAt } = duplicate;
    ends.push({
      row,
      state: 'completed',
      attemptsMade: 0,
      runAt: null,
      settled: false,
      startedAt,
      finishedAt,
      error: null,
      output,
      ...(files !== null && { files: storedJson<JobFiles>(files) }),
      mergedWith: duplicate,
    });
  }
  await endRuns(transaction, ends, now);
}
