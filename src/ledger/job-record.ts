import type { JobError, ParentFailure } from '../job/job.js';
import type { FieldsWith } from '../job/job-fields.js';
import { type ColumnsOf, columnsWhere, shownReader } from './job-columns.js';
import { isEnded, settledJob } from './job-row.js';
import type { JobRecord, JobState, JobSummary, Waiting } from './records.js';
import { storedJson } from './stored-json.js';
import type { Transaction } from './transaction.js';
import { weightOf } from './weight.js';

/** The columns of a job that are shown, with the state of its group and workgroup. */
export interface SummaryRow extends ColumnsOf<FieldsWith<{ readonly shown: 'summary'; readonly column: string }>> {
  readonly seq: number;
  readonly id: string;
  readonly state: JobState;
  readonly parked: 'group' | 'workgroup' | 'twin' | null;
  readonly grp_id: string | null;
  readonly grp_paused: 0 | 1 | null;
  readonly workgroup_id: string | null;
  readonly held_until: number | null;
  readonly weight: number;
  readonly weight_part: number;
  readonly attempts_made: number;
  readonly attempts_allowed: number;
  readonly lease: number;
  readonly lease_until: number | null;
  readonly worker_id: string | null;
  readonly worker_name: string | null;
  readonly created_at: number;
  readonly started_at: number | null;
  readonly finished_at: number | null;
  readonly error: string | null;
  readonly merged_id: string | null;
}

export const SUMMARY = `SELECT ${columnsWhere(({ shown }) => shown === 'summary')}, job.seq, job.id, job.state, job.parked, grp.id AS grp_id,
  grp.paused AS grp_paused, workgroup.id AS workgroup_id, workgroup.held_until, job.weight, job.weight_part, job.attempts_made, job.attempts_allowed, job.lease,
  job.lease_until, worker.id AS worker_id, worker.name AS worker_name, job.created_at, job.started_at, job.finished_at, job.error,
  twin.id AS merged_id`;
export const SUMMARY_FROM = `FROM job LEFT JOIN grp ON grp.seq = job.grp LEFT JOIN workgroup ON workgroup.seq = job.workgroup
  LEFT JOIN worker ON worker.seq = job.worker LEFT JOIN job AS twin ON twin.seq = job.merged_with`;

const summaryFields = shownReader('summary');
const recordFields = shownReader('record');

export function jobSummary(row: SummaryRow, now: number): JobSummary {
  const waiting = waitingFor(row, now);
  const { state } = row;
  return {
    id: row.id,
    ...summaryFields(row),
    state,
    ...(waiting !== undefined && { waiting }),
    ...(row.grp_id !== null && { group: row.grp_id }),
    ...(row.workgroup_id !== null && { workgroup: row.workgroup_id }),
    weight: weightOf(row),
    attempts: { made: row.attempts_made, allowed: row.attempts_allowed },
    lease: row.lease,
    // A job that waits again belongs to no worker.
    ...(row.worker_id !== null &&
      state !== 'ready' &&
      state !== 'blocked' && { worker: { id: row.worker_id, name: row.worker_name ?? '' } }),
    ...(row.lease_until !== null && state === 'leased' && { leaseUntil: row.lease_until }),
    createdAt: row.created_at,
    ...(row.started_at !== null && state !== 'ready' && { startedAt: row.started_at }),
    ...(row.finished_at !== null && { finishedAt: row.finished_at }),
    ...(row.error !== null && { error: briefError(storedJson<JobError>(row.error)) }),
    ...(row.merged_id !== null && { mergedWith: row.merged_id }),
  };
}

/** The error as lists show it: what happened, without the stack. */
function briefError({ code, message, exitCode }: JobError): JobError {
  return { code, message, ...(exitCode !== undefined && { exitCode }) };
}

/** Returns why a ready job does not start. Does not depend on whether the job has been parked yet, which only a claim decides. */
function waitingFor(row: SummaryRow, now: number): Waiting | undefined {
  if (row.state !== 'ready') return undefined;
  if (row.run_at !== null && row.run_at > now) return 'delayed';
  if (row.grp_paused === 1) return 'group-paused';
  if (row.held_until !== null && row.held_until > now) return 'workgroup-held';
  if (row.parked === 'workgroup') return 'workgroup-full';
  return row.parked === 'twin' ? 'duplicate-runs' : undefined;
}

interface DetailRow extends SummaryRow {
  readonly output: string | null;
  readonly outcome_files: string | null;
  readonly grp_parent_failure: ParentFailure | null;
}

const GET = `${SUMMARY}, ${columnsWhere(({ shown }) => shown === 'record')}, job.output, job.outcome_files, grp.parent_failure AS grp_parent_failure
  ${SUMMARY_FROM} WHERE job.id = ?`;
const PARENTS = 'SELECT job.id FROM edge JOIN job ON job.seq = edge.parent WHERE edge.child = ? ORDER BY edge.place';
/** Children that are shown: the full list is unbounded. */
const CHILDREN = 'SELECT job.id FROM edge JOIN job ON job.seq = edge.child WHERE edge.parent = ? ORDER BY job.seq LIMIT 1000';

export async function getJob(transaction: Transaction, id: string, now: number): Promise<JobRecord | undefined> {
  const [row] = await transaction.all<DetailRow>(GET, [id]);
  if (row === undefined) return undefined;
  const { state } = row;
  const fields = recordFields(row);
  const parents = await transaction.all<{ id: string }>(PARENTS, [row.seq]);
  const children = await transaction.all<{ id: string }>(CHILDREN, [row.seq]);
  return {
    ...jobSummary(row, now),
    ...(row.error !== null && { error: storedJson<JobError>(row.error) }),
    ...fields,
    parents: parents.map((parent) => parent.id),
    children: children.map((child) => child.id),
    parentFailure: fields.parentFailure ?? row.grp_parent_failure ?? 'fail',
    ...(isEnded(state) && { settled: settledJob({ ...row, state }) }),
  };
}
