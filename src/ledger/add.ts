import { describeError, PeerworkError } from '../errors.js';
import type { CheckedJob } from '../job/job-input.js';
import type { Value } from './driver.js';
import { endRuns } from './end-runs.js';
import { circleIn, recount } from './graph.js';
import { isEnded, RUN_COLUMNS, type RunRow } from './job-row.js';
import type { LaneBook } from './lane-book.js';
import type { AddedJob } from './ledger.js';
import { padded, pieces, repeated, sized } from './lists.js';
import { groupsNamed, workgroupsNamed } from './rows-by-name.js';
import { endUntried } from './run-end.js';
import type { Transaction } from './transaction.js';
import { shareOutcomes } from './window.js';

const COLUMNS = `seq, id, channel, lane, state, plain, priority, run_at, pending, parents, grp, workgroup, merge_key, weight, seed, requires,
  persistent, parent_failure, backoff_fixed, name, timeout_ms, attempts_allowed, backoff_ms, created_at, dated_at, meta, data`;
const ADD = sized((count) => `INSERT INTO job (${COLUMNS}) VALUES ${repeated(`(${repeated('?', 27)})`, count)} ON CONFLICT DO NOTHING`);
const PRESENT = sized((count) => `SELECT seq FROM job WHERE seq IN (${repeated('?', count)})`);
const KNOWN = sized((count) => `SELECT ${RUN_COLUMNS} FROM job WHERE job.id IN (${repeated('?', count)}) ORDER BY job.seq FOR UPDATE`);
const ROWS = sized((count) => `SELECT ${RUN_COLUMNS} FROM job WHERE job.seq IN (${repeated('?', count)})`);
const EDGE = sized((count) => `INSERT INTO edge (parent, child, place) VALUES ${repeated('(?, ?, ?)', count)} ON CONFLICT DO NOTHING`);
const HAVE_CHILDREN = sized((count) => `UPDATE job SET plain = 0 WHERE plain = 1 AND seq IN (${repeated('?', count)})`);

export interface Adding {
  readonly now: number;
  readonly random: () => number;
  readonly lanes: LaneBook;
  /** The group that all of them join, by number, whatever they name. */
  readonly grp?: number | null;
}

/** Adds jobs that were checked, in order. Throws `parent-unknown` or `graph-cycle`: then the transaction must be rolled back. */
export async function addJobs(transaction: Transaction, jobs: readonly CheckedJob[], adding: Adding): Promise<AddedJob[]> {
  const { now } = adding;
  const first = await transaction.draw('job', jobs.length);
  const ids = jobs.map((job, index) => job.id ?? madeUpId(first + index, adding.random));
  const graph = jobs.some(({ parents }) => parents.length > 0) ? await graphOf(transaction, jobs, ids) : undefined;
  const places = await placesOf(transaction, jobs, adding);
  const rows = jobs.map((job, index): Value[] => {
    const runAt = job.runAt ?? (job.delayMs > 0 ? now + job.delayMs : undefined);
    const { lane, grp, workgroup } = places(index);
    if (runAt !== undefined && runAt > now) transaction.due(runAt);
    const plain = job.key === undefined && !job.persistent && graph?.inner.has(index) !== true;
    return [
      first + index,
      ids[index] ?? '',
      job.channel,
      lane,
      job.parents.length > 0 ? 'blocked' : 'ready',
      plain ? 1 : 0,
      job.priority,
      runAt !== undefined && runAt > now ? runAt : null,
      job.parents.length,
      job.parents.length,
      grp,
      workgroup,
      job.key ?? null,
      job.weight,
      job.seed ? 1 : 0,
      job.requires === '' ? null : job.requires,
      job.persistent ? 1 : 0,
      job.parentFailure ?? null,
      job.backoffFixed ? 1 : 0,
      job.name ?? null,
      job.timeoutMs ?? null,
      job.attempts,
      job.backoffMs,
      now,
      job.runAt ?? null,
      job.meta ?? null,
      job.data,
    ];
  });
  const added = await insert(transaction, rows);
  for (const [index, job] of jobs.entries()) {
    const { grp } = places(index);
    if (added(index))
      transaction.moved(
        { id: ids[index] ?? '', channel: job.channel, grp, weight: job.weight },
        undefined,
        job.parents.length > 0 ? 'blocked' : 'ready',
      );
  }
  if (graph !== undefined) await join(transaction, jobs, ids, first, added, graph, now);
  const waiting = jobs.flatMap(({ keyWindowMs }, index) =>
    keyWindowMs !== undefined && added(index) ? [{ seq: first + index, keyWindowMs }] : [],
  );
  if (waiting.length > 0) await shareOutcomes(transaction, waiting, now);
  return ids.map((id, index) => ({ id, added: added(index) }));
}

/** Answers which indexes were new. */
async function insert(transaction: Transaction, rows: readonly Value[][]): Promise<(index: number) => boolean> {
  const first = rows[0]?.[0] as number;
  let known: Set<number> | undefined;
  for (const piece of pieces(rows)) {
    const list = padded(piece);
    const changed = await transaction.run(ADD(list.length), list.flat());
    if (changed !== piece.length) {
      const seqs = piece.map(([seq]) => seq as number);
      const present = new Set((await transaction.allOf<{ seq: number }>(PRESENT, seqs)).map(({ seq }) => seq));
      known ??= new Set();
      for (const seq of seqs) if (!present.has(seq)) known.add(seq - first);
    }
  }
  return (index) => known?.has(index) !== true;
}

/** Where each job belongs, by number. */
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
  /** Indexes of those that are parents in the list. */
  readonly inner: ReadonlySet<number>;
  readonly indexOf: ReadonlyMap<string, number>;
  /** Parents that are in the ledger already, locked. */
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
  const known = await knownJobs(transaction, [...outside]);
  for (const id of outside) if (!known.has(id)) throw new PeerworkError('parent-unknown', id);
  const circle = circleIn(jobs.length, (index) => inList[index] ?? []);
  if (circle !== undefined) throw new PeerworkError('graph-cycle', namesOf(circle.map((index) => ids[index] ?? '')));
  return { inner, indexOf, known };
}

/** Enters the edges; children whose parents have ended already wait for the others only. */
async function join(
  transaction: Transaction,
  jobs: readonly CheckedJob[],
  ids: readonly string[],
  first: number,
  added: (index: number) => boolean,
  { inner, indexOf, known }: Graph,
  now: number,
): Promise<void> {
  // A parent in the list that was known before is the one in the ledger.
  const older = [...inner].filter((index) => !added(index)).map((index) => ids[index] ?? '');
  for (const [id, row] of await knownJobs(transaction, older)) known.set(id, row);
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
  const failed = await recount(transaction, await transaction.allOf<RunRow>(ROWS, [...recounted]));
  await endRuns(
    transaction,
    failed.map(({ row, parent }) => endUntried(row, { code: 'parent-failed', message: describeError('parent-failed', parent) }, now)),
    now,
  );
}

async function knownJobs(transaction: Transaction, ids: readonly string[]): Promise<Map<string, RunRow>> {
  return new Map((await transaction.allOf<RunRow>(KNOWN, ids)).map((row) => [row.id, row]));
}

function namesOf(ids: readonly string[]): string {
  const shown = ids.slice(0, 6);
  return [...shown, ids.length > shown.length ? '…' : ids[0]].join(' → ');
}

/** Sorts by age, which keeps the index of ids growing at its end; the random part keeps it apart from ids that users choose. */
function madeUpId(seq: number, random: () => number): string {
  return `${seq.toString(36).padStart(7, '0')}-${Math.floor(random() * 36 ** 6)
    .toString(36)
    .padStart(6, '0')}`;
}
