import type { JobError, Json, ParentFailure } from '../job/job.js';
import { labelsOf } from '../job/labels.js';
import { isEnded, settledJob } from './job-row.js';
import type { JobRecord, JobState, JobSummary, Waiting } from './ledger.js';
import { storedJson } from './stored-json.js';
import type { Transaction } from './transaction.js';

/** What is read of a job to show it, with what its group and workgroup are up to. */
export interface SummaryRow {
  readonly seq: number;
  readonly id: string;
  readonly name: string | null;
  readonly channel: string;
  readonly state: JobState;
  readonly parked: 'group' | 'workgroup' | 'twin' | null;
  readonly grp_id: string | null;
  readonly grp_paused: 0 | 1 | null;
  readonly workgroup_id: string | null;
  readonly held_until: number | null;
  readonly merge_key: string | null;
  readonly priority: number;
  readonly weight: number;
  readonly attempts_made: number;
  readonly attempts_allowed: number;
  readonly lease: number;
  readonly lease_until: number | null;
  readonly worker_id: string | null;
  readonly worker_name: string | null;
  readonly run_at: number | null;
  readonly created_at: number;
  readonly started_at: number | null;
  readonly finished_at: number | null;
  readonly error: string | null;
  readonly merged_id: string | null;
}

export const SUMMARY = `SELECT job.seq, job.id, job.name, job.channel, job.state, job.parked, grp.id AS grp_id, grp.paused AS grp_paused,
  workgroup.id AS workgroup_id, workgroup.held_until, job.merge_key, job.priority, job.weight, job.attempts_made, job.attempts_allowed, job.lease,
  job.lease_until, worker.id AS worker_id, worker.name AS worker_name, job.run_at, job.created_at, job.started_at, job.finished_at, job.error,
  twin.id AS merged_id`;
export const SUMMARY_FROM = `FROM job LEFT JOIN grp ON grp.seq = job.grp LEFT JOIN workgroup ON workgroup.seq = job.workgroup
  LEFT JOIN worker ON worker.seq = job.worker LEFT JOIN job AS twin ON twin.seq = job.merged_with`;

export function jobSummary(row: SummaryRow, now: number): JobSummary {
  const waiting = waitingFor(row, now);
  const { state } = row;
  return {
    id: row.id,
    ...(row.name !== null && { name: row.name }),
    channel: row.channel,
    state,
    ...(waiting !== undefined && { waiting }),
    ...(row.grp_id !== null && { group: row.grp_id }),
    ...(row.workgroup_id !== null && { workgroup: row.workgroup_id }),
    ...(row.merge_key !== null && { key: row.merge_key }),
    priority: row.priority,
    weight: row.weight,
    attempts: { made: row.attempts_made, allowed: row.attempts_allowed },
    lease: row.lease,
    // A job that waits again is nobody's.
    ...(row.worker_id !== null &&
      state !== 'ready' &&
      state !== 'blocked' && { worker: { id: row.worker_id, name: row.worker_name ?? '' } }),
    ...(row.lease_until !== null && state === 'leased' && { leaseUntil: row.lease_until }),
    ...(row.run_at !== null && { runAt: row.run_at }),
    createdAt: row.created_at,
    ...(row.started_at !== null && state !== 'ready' && { startedAt: row.started_at }),
    ...(row.finished_at !== null && { finishedAt: row.finished_at }),
    ...(row.error !== null && { error: briefError(storedJson<JobError>(row.error)) }),
    ...(row.merged_id !== null && { mergedWith: row.merged_id }),
  };
}

/** In a list of hundreds: what happened, not where. */
function briefError({ code, message, exitCode }: JobError): JobError {
  return { code, message, ...(exitCode !== undefined && { exitCode }) };
}

/** Whether it is parked yet or not, which only a claim decides. */
function waitingFor(row: SummaryRow, now: number): Waiting | undefined {
  if (row.state !== 'ready') return undefined;
  if (row.run_at !== null && row.run_at > now) return 'delayed';
  if (row.grp_paused === 1) return 'group-paused';
  if (row.held_until !== null && row.held_until > now) return 'workgroup-held';
  if (row.parked === 'workgroup') return 'workgroup-full';
  return row.parked === 'twin' ? 'twin-runs' : undefined;
}

interface DetailRow extends SummaryRow {
  readonly data: string;
  readonly output: string | null;
  readonly meta: string | null;
  readonly parent_failure: ParentFailure | null;
  readonly grp_parent_failure: ParentFailure | null;
  readonly requires: string | null;
  readonly seed: 0 | 1;
  readonly persistent: 0 | 1;
  readonly timeout_ms: number | null;
  readonly backoff_ms: number;
  readonly backoff_fixed: 0 | 1;
}

const GET = `${SUMMARY}, job.data, job.output, job.meta, job.parent_failure, grp.parent_failure AS grp_parent_failure, job.requires, job.seed,
  job.persistent, job.timeout_ms, job.backoff_ms, job.backoff_fixed ${SUMMARY_FROM} WHERE job.id = ?`;
const PARENTS = 'SELECT job.id FROM edge JOIN job ON job.seq = edge.parent WHERE edge.child = ? ORDER BY edge.place';
/** Those that are shown; a list of all would have no end. */
const CHILDREN = 'SELECT job.id FROM edge JOIN job ON job.seq = edge.child WHERE edge.parent = ? ORDER BY job.seq LIMIT 1000';

export async function getJob(transaction: Transaction, id: string, now: number): Promise<JobRecord | undefined> {
  const [row] = await transaction.all<DetailRow>(GET, [id]);
  if (row === undefined) return undefined;
  const { state } = row;
  const parents = await transaction.all<{ id: string }>(PARENTS, [row.seq]);
  const children = await transaction.all<{ id: string }>(CHILDREN, [row.seq]);
  return {
    ...jobSummary(row, now),
    ...(row.error !== null && { error: storedJson<JobError>(row.error) }),
    data: storedJson<Json>(row.data),
    parents: parents.map((parent) => parent.id),
    children: children.map((child) => child.id),
    parentFailure: row.parent_failure ?? row.grp_parent_failure ?? 'fail',
    requires: labelsOf(row.requires ?? ''),
    seed: row.seed === 1,
    persistent: row.persistent === 1,
    ...(row.timeout_ms !== null && { timeoutMs: row.timeout_ms }),
    backoffMs: row.backoff_ms,
    backoff: row.backoff_fixed === 1 ? 'fixed' : 'exponential',
    ...(row.meta !== null && { meta: storedJson<Json>(row.meta) }),
    ...(isEnded(state) && { settled: settledJob({ ...row, state }) }),
  };
}
