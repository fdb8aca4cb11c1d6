import { isEnded, RUN_COLUMNS, type RunRow } from './job-row.js';
import { padded, pieces, repeated, sized, valuesOf } from './lists.js';
import { lockRunsBySeq } from './read-runs.js';
import type { JobState } from './records.js';
import type { RunEnd } from './run-end.js';
import type { Transaction } from './transaction.js';

/**
 * Parents and children. `pending` of a blocked job counts its edges that are not `done`. An edge is done when its parent completed, or
 * ended otherwise and the child's policy is to run anyway. Children are always locked in the order of `seq`; otherwise Masters that end
 * their parents at the same time would deadlock.
 */
const POLICY = `COALESCE(child.parent_failure, grp.parent_failure, 'fail')`;

/** Deliberately not a comparison of the bare column: it keeps the planner from starting each step with the index of all blocked jobs. */
const BLOCKED = `child.state || '' = 'blocked'`;

const FAILED_DESCENDANTS = sized(
  (count) => `WITH RECURSIVE descendants (seq) AS (
    SELECT child.seq FROM edge JOIN job AS child ON child.seq = edge.child LEFT JOIN grp ON grp.seq = child.grp
    WHERE edge.parent IN (${repeated('?', count)}) AND ${BLOCKED} AND ${POLICY} = 'fail'
    UNION SELECT child.seq FROM descendants JOIN edge ON edge.parent = descendants.seq JOIN job AS child ON child.seq = edge.child
    LEFT JOIN grp ON grp.seq = child.grp WHERE ${BLOCKED} AND ${POLICY} = 'fail')
  SELECT ${RUN_COLUMNS} FROM job WHERE job.seq IN (SELECT seq FROM descendants) ORDER BY job.seq FOR UPDATE`,
);
const PARENTS_OF = sized((count) => `SELECT child, parent FROM edge WHERE child IN (${repeated('?', count)}) ORDER BY child, place`);

/**
 * Returns, locked, the blocked jobs that fail with these parents, directly or transitively, each with the parent that it fails because of.
 */
export async function failedDescendants(
  transaction: Transaction,
  parents: readonly RunRow[],
): Promise<{ readonly row: RunRow; readonly parent: string }[]> {
  const descendants = new Map<number, RunRow>();
  for (const row of await transaction.allOf<RunRow>(
    FAILED_DESCENDANTS,
    parents.map(({ seq }) => seq),
  ))
    if (row.state === 'blocked') descendants.set(row.seq, row);
  if (descendants.size === 0) return [];
  const failing = new Map([...parents, ...descendants.values()].map(({ seq, id }) => [seq, id]));
  const failedFor = new Map<number, string>();
  for (const { child, parent } of await transaction.allOf<{ child: number; parent: number }>(PARENTS_OF, [...descendants.keys()])) {
    const id = failing.get(parent);
    if (id !== undefined && !failedFor.has(child)) failedFor.set(child, id);
  }
  return [...descendants.values()].map((row) => ({ row, parent: failedFor.get(row.seq) ?? '' }));
}

const UNBLOCKED = sized(
  (count) => `SELECT edge.child, COUNT(*) AS edges FROM edge JOIN job AS child ON child.seq = edge.child
  WHERE edge.parent IN (${repeated('?', count)}) AND edge.done = 0 AND child.state = 'blocked' GROUP BY edge.child`,
);
const UNBLOCKED_ANYWAY = sized(
  (
    count,
  ) => `SELECT edge.child, COUNT(*) AS edges FROM edge JOIN job AS child ON child.seq = edge.child LEFT JOIN grp ON grp.seq = child.grp
  WHERE edge.parent IN (${repeated('?', count)}) AND edge.done = 0 AND child.state = 'blocked' AND ${POLICY} = 'run' GROUP BY edge.child`,
);
const DONE = sized((count) => `UPDATE edge SET done = 1 WHERE parent IN (${repeated('?', count)})`);
const DONE_ANYWAY = sized(
  (count) => `UPDATE edge SET done = 1 WHERE parent IN (${repeated('?', count)}) AND child IN (
    SELECT child.seq FROM job AS child LEFT JOIN grp ON grp.seq = child.grp WHERE child.seq = edge.child AND ${POLICY} = 'run')`,
);
const PENDING = sized(
  (count) => `UPDATE job SET pending = v.column2, state = v.column3
  FROM (${valuesOf(['INTEGER', 'INTEGER', 'TEXT'], count)}) AS v WHERE job.seq = v.column1`,
);

/** Releases the children of ended jobs, as far as these wait for nothing else. The ends must already be written. */
export async function propagateEnds(transaction: Transaction, ends: readonly RunEnd[]): Promise<void> {
  const unblocked = new Map<number, number>();
  const pass = async (parents: readonly number[], select: (count: number) => string, mark: (count: number) => string) => {
    const found = await transaction.allOf<{ child: number; edges: number }>(select, parents);
    for (const { child, edges } of found) unblocked.set(child, (unblocked.get(child) ?? 0) + edges);
    await transaction.runOf(mark, parents);
  };
  const parents = ends.filter(({ row, state }) => row.plain === 0 && isEnded(state));
  const completed = parents.filter(({ state }) => state === 'completed').map(({ row }) => row.seq);
  const others = parents.filter(({ state }) => state !== 'completed').map(({ row }) => row.seq);
  if (completed.length > 0) await pass(completed, UNBLOCKED, DONE);
  if (others.length > 0) await pass(others, UNBLOCKED_ANYWAY, DONE_ANYWAY);
  const children = await lockRunsBySeq(
    transaction,
    [...unblocked.keys()].sort((a, b) => a - b),
  );
  await writePending(
    transaction,
    children
      .filter(({ state }) => state === 'blocked')
      .map((row) => ({ row, pending: Math.max(0, row.pending - (unblocked.get(row.seq) ?? 0)) })),
  );
}

const LOCK_PARENTS = sized(
  (count) => `SELECT seq FROM job WHERE seq IN (SELECT parent FROM edge WHERE child IN (${repeated('?', count)})) ORDER BY seq FOR UPDATE`,
);
const EDGES = sized(
  (count) => `SELECT edge.child, edge.parent, parent.id, parent.state, ${POLICY} AS policy
  FROM edge JOIN job AS parent ON parent.seq = edge.parent JOIN job AS child ON child.seq = edge.child LEFT JOIN grp ON grp.seq = child.grp
  WHERE edge.child IN (${repeated('?', count)})`,
);
const NOT_DONE = sized((count) => `UPDATE edge SET done = 0 WHERE child IN (${repeated('?', count)})`);
const DONE_EDGES = sized(
  (count) => `UPDATE edge SET done = 1 FROM (${valuesOf(['INTEGER', 'INTEGER'], count)}) AS v
  WHERE edge.parent = v.column1 AND edge.child = v.column2`,
);

interface EdgeRow {
  readonly child: number;
  readonly parent: number;
  readonly id: string;
  readonly state: JobState;
  readonly policy: 'fail' | 'wait' | 'run';
}

/**
 * Recounts what blocked jobs wait for and releases those that wait for nothing. Returns the jobs that fail because of a parent that has
 * already failed, with that parent: they stay blocked unless the caller ends them.
 */
export async function recount(
  transaction: Transaction,
  rows: readonly RunRow[],
): Promise<{ readonly row: RunRow; readonly parent: string }[]> {
  const seqs = rows.filter(({ parents }) => parents > 0).map(({ seq }) => seq);
  if (seqs.length > 0) {
    await transaction.allOf(LOCK_PARENTS, seqs);
    await transaction.runOf(NOT_DONE, seqs);
  }
  const waits = new Map<number, number>();
  const failed = new Map<number, string>();
  const done: (readonly [number, number])[] = [];
  for (const edge of await transaction.allOf<EdgeRow>(EDGES, seqs)) {
    const isDone = edge.state === 'completed' || (isEnded(edge.state) && edge.policy === 'run');
    if (isDone) done.push([edge.parent, edge.child]);
    else waits.set(edge.child, (waits.get(edge.child) ?? 0) + 1);
    if (!isDone && isEnded(edge.state) && edge.policy === 'fail') failed.set(edge.child, edge.id);
  }
  for (const piece of pieces(done)) {
    const list = padded(piece);
    await transaction.run(DONE_EDGES(list.length), list.flat());
  }
  await writePending(
    transaction,
    rows.map((row) => ({ row, pending: waits.get(row.seq) ?? 0 })),
  );
  return rows.flatMap((row) => {
    const parent = failed.get(row.seq);
    return parent === undefined ? [] : [{ row, parent }];
  });
}

async function writePending(
  transaction: Transaction,
  counted: readonly { readonly row: RunRow; readonly pending: number }[],
): Promise<void> {
  for (const piece of pieces(counted)) {
    const list = padded(piece.map(({ row, pending }) => [row.seq, pending, pending === 0 ? 'ready' : 'blocked'] as const));
    await transaction.run(PENDING(list.length), list.flat());
    for (const { row, pending } of piece) if (pending === 0) transaction.moved(row, 'blocked', 'ready');
  }
}

const DESCENDANTS = sized(
  (count) => `WITH RECURSIVE descendant (seq) AS (
    SELECT child FROM edge WHERE parent IN (${repeated('?', count)})
    UNION SELECT edge.child FROM descendant JOIN edge ON edge.parent = descendant.seq)
  SELECT ${RUN_COLUMNS} FROM job WHERE job.seq IN (SELECT seq FROM descendant) ORDER BY job.seq FOR UPDATE`,
);

/** Returns all descendants of these jobs, locked. The jobs themselves are included only if one descends from another. */
export async function descendantsOf(transaction: Transaction, seqs: readonly number[]): Promise<Map<number, RunRow>> {
  const rows = await transaction.allOf<RunRow>(DESCENDANTS, seqs);
  return new Map(rows.map((row) => [row.seq, row]));
}

/** `errorText` writes `code` first. */
const FAILED_FOR_PARENT = `child.state || '' = 'failed' AND child.error LIKE '{"code":"parent-failed"%'`;
const FAILED_BECAUSE_OF = sized(
  (count) => `WITH RECURSIVE descendants (seq) AS (
    SELECT child.seq FROM edge JOIN job AS child ON child.seq = edge.child WHERE edge.parent IN (${repeated('?', count)}) AND ${FAILED_FOR_PARENT}
    UNION SELECT child.seq FROM descendants JOIN edge ON edge.parent = descendants.seq JOIN job AS child ON child.seq = edge.child WHERE ${FAILED_FOR_PARENT})
  SELECT ${RUN_COLUMNS} FROM job WHERE job.seq IN (SELECT seq FROM descendants) ORDER BY job.seq FOR UPDATE`,
);

/** Returns, locked, the jobs that failed because of these, directly or transitively. */
export async function failedBecauseOf(transaction: Transaction, seqs: readonly number[]): Promise<RunRow[]> {
  const rows = await transaction.allOf<RunRow>(FAILED_BECAUSE_OF, seqs);
  return [...new Map(rows.filter(({ state }) => state === 'failed').map((row) => [row.seq, row])).values()];
}

/**
 * Returns the indexes of jobs that wait for each other in a cycle; undefined if there is none. `parentsOf` returns the parents within the
 * list, by index.
 */
export function findCycle(count: number, parentsOf: (index: number) => readonly number[]): readonly number[] | undefined {
  const waits = Array.from({ length: count }, (_, index) => parentsOf(index).length);
  const children: number[][] = Array.from({ length: count }, () => []);
  for (let index = 0; index < count; index += 1) for (const parent of parentsOf(index)) children[parent]?.push(index);
  const free = [...waits.keys()].filter((index) => waits[index] === 0);
  let ordered = 0;
  for (let index = free.pop(); index !== undefined; index = free.pop()) {
    ordered += 1;
    for (const child of children[index] ?? []) {
      waits[child] = (waits[child] ?? 0) - 1;
      if (waits[child] === 0) free.push(child);
    }
  }
  if (ordered === count) return undefined;
  // Each remaining job has a parent that remains, so following parents ends in the cycle.
  const seen: number[] = [];
  let at = waits.findIndex((left) => left > 0);
  while (!seen.includes(at)) {
    seen.push(at);
    at = parentsOf(at).find((parent) => (waits[parent] ?? 0) > 0) ?? at;
  }
  return seen.slice(seen.indexOf(at)).reverse();
}
