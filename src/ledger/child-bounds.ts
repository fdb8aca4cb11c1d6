import { PeerworkError } from '../errors.js';
import type { CheckedJob } from '../job/job-fields.js';
import { labelSet, labelsOf } from '../job/kinds.js';
import { DEFAULT_TIMEOUT_MS, MAX_HOLD_MS, MAX_LABELS } from '../job/limits.js';
import type { CheckedChild } from './children.js';
import { findCycle } from './graph.js';
import type { RunRow } from './job-row.js';
import { repeated, sized } from './lists.js';
import type { ChildPolicy } from './requests.js';
import type { Transaction } from './transaction.js';

/** The columns of a job that limit its children. */
export interface Creator extends RunRow {
  readonly priority: number;
  readonly seed: 0 | 1;
  readonly requires: string | null;
  readonly timeout_ms: number | null;
  readonly workgroup_id: string | null;
}

const CREATOR = `SELECT job.priority, job.seed, job.requires, job.timeout_ms, workgroup.id AS workgroup_id
  FROM job LEFT JOIN workgroup ON workgroup.seq = job.workgroup WHERE job.seq = ?`;
/** Jobs with these ids that are not children of the creator. */
const STRANGERS = sized(
  (count) => `SELECT id FROM job WHERE id IN (${repeated('?', count)})
  AND NOT EXISTS (SELECT 1 FROM edge WHERE edge.child = job.seq AND edge.parent = ?)`,
);

/**
 * Restricts children to what their creator could do itself. Throws `children-invalid` before anything is written.
 *
 * | field | bound |
 * |---|---|
 * | `channel`, `workgroup` | the creator's, and those that the policy names |
 * | `priority` | not above the creator's; by default 0, or the creator's if that is lower |
 * | `requires` | includes everything the creator requires |
 * | `seed`, `persistent` | only if the creator is: seeds decide what a reset deletes, persistent jobs occupy a Worker forever |
 * | `timeoutMs` | 0 only if the creator has no limit either |
 * | `parents` | siblings that are new or children of the creator: no child receives the output of an unrelated job |
 * | `key`, `id` | free: keys reach no further than the channel, and a known id adds nothing |
 */
export async function boundChildren(
  transaction: Transaction,
  row: RunRow,
  children: readonly CheckedChild[],
  policy: ChildPolicy,
): Promise<readonly CheckedChild[]> {
  refuseCycles(row.id, children);
  if (policy === 'any') return children;
  const [found] = await transaction.all<Creator>(CREATOR, [row.seq]);
  if (found === undefined) throw new Error('a run that is being settled is not there');
  const creator = { ...row, ...found };
  const { channels = [], workgroups = [] } = policy(row.channel);
  const allowed = {
    channels: new Set([row.channel, ...channels]),
    workgroups: new Set([...workgroups, ...(found.workgroup_id === null ? [] : [found.workgroup_id])]),
  };
  await refuseStrangers(transaction, row, children);
  return children.map((child, index) => {
    const violation = violationOf(child, creator, allowed);
    if (violation !== undefined) throw invalid(`child ${index}: ${violation}`);
    return { ...child, job: bounded(child, creator, index) };
  });
}

function violationOf(
  { job, prioritized }: CheckedChild,
  creator: Creator,
  allowed: { readonly channels: ReadonlySet<string>; readonly workgroups: ReadonlySet<string> },
): string | undefined {
  const { channel, workgroup, priority, seed, persistent, timeoutMs } = job;
  if (!allowed.channels.has(channel)) return `its channel ${JSON.stringify(channel)} is none that the task declares for children`;
  if (workgroup !== undefined && !allowed.workgroups.has(workgroup))
    return `its workgroup ${JSON.stringify(workgroup)} is none that the task declares for children`;
  if (prioritized && priority > creator.priority) return `its priority ${priority} is above the ${creator.priority} of its creator`;
  if (seed && creator.seed === 0) return 'it is a seed and its creator is none';
  if (persistent && creator.persistent === 0) return 'it is persistent and its creator is not';
  if (timeoutMs === 0 && (creator.timeout_ms ?? DEFAULT_TIMEOUT_MS) > 0) return 'it has no time limit and its creator has one';
  return undefined;
}

function bounded({ job, prioritized }: CheckedChild, creator: Creator, index: number): CheckedJob {
  const labels = [...labelsOf(creator.requires ?? ''), ...labelsOf(job.requires)];
  const requires = labelSet(labels);
  if (labelsOf(requires).length > MAX_LABELS)
    throw invalid(`child ${index}: with those of its creator it requires more than ${MAX_LABELS} labels`);
  return { ...job, requires, priority: prioritized ? job.priority : Math.min(0, creator.priority) };
}

/** Children that share an id can form cycles that their refs do not show. */
function refuseCycles(creator: string, children: readonly CheckedChild[]): void {
  const byId = new Map<string, number>();
  for (const [index, { job }] of children.entries()) {
    if (job.id === creator) throw invalid(`child ${index}: its id is that of its creator`);
    if (job.id !== undefined && !byId.has(job.id)) byId.set(job.id, index);
  }
  const first = (index: number) => byId.get(children[index]?.job.id ?? '') ?? index;
  const cycle = findCycle(children.length, (index) => children[index]?.parents?.map(first) ?? []);
  if (cycle !== undefined) throw invalid(`children of the same id wait for each other in a cycle: ${children[cycle[0] ?? 0]?.job.id}`);
}

async function refuseStrangers(transaction: Transaction, { seq }: RunRow, children: readonly CheckedChild[]): Promise<void> {
  const named = new Set(children.flatMap(({ parents }) => parents ?? []));
  const ids = new Set([...named].flatMap((index) => children[index]?.job.id ?? []));
  const [stranger] = await transaction.allOf<{ id: string }>(STRANGERS, [...ids], [seq]);
  if (stranger !== undefined) throw invalid(`there is a job ${JSON.stringify(stranger.id)} already: no child can wait for it`);
}

/** Throws `hold-too-long` if the outcome requests a hold or a delay of its children longer than MAX_HOLD_MS. */
export function checkWaits(outcome: { readonly holdMs?: number | undefined; readonly childrenDelayMs?: number | undefined }): void {
  const { holdMs = 0, childrenDelayMs = 0 } = outcome;
  const requested = holdMs > MAX_HOLD_MS ? `a hold of ${holdMs} ms` : `a delay of its children of ${childrenDelayMs} ms`;
  if (Math.max(holdMs, childrenDelayMs) > MAX_HOLD_MS) throw new PeerworkError('hold-too-long', `${requested}, at most ${MAX_HOLD_MS}`);
}

function invalid(detail: string): PeerworkError {
  return new PeerworkError('children-invalid', detail);
}
