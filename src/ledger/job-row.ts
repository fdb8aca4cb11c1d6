import type { JobFiles } from '../job/files.js';
import type { JobError, SettledJob } from '../job/job.js';
import { boundedError } from '../job/job-error.js';
import type { FieldsWith } from '../job/job-fields.js';
import { type ColumnsOf, columnsWhere } from './job-columns.js';
import { packed } from './packed.js';
import type { JobState } from './records.js';
import { storedJson } from './stored-json.js';

/** The columns that every statement about the end of a run reads: job fields marked `inRun`, and the ledger's own. */
export interface RunRow extends ColumnsOf<FieldsWith<{ readonly inRun: true }>> {
  readonly seq: number;
  readonly id: string;
  readonly channel: string;
  readonly state: JobState;
  readonly plain: 0 | 1;
  readonly pending: number;
  /** Number of parents. */
  readonly parents: number;
  readonly parked: 'group' | 'workgroup' | 'twin' | null;
  readonly grp: number | null;
  readonly workgroup: number | null;
  readonly weight: number;
  readonly weight_part: number;
  readonly attempts_made: number;
  readonly lease: number;
  readonly worker: number | null;
  readonly settled_lease: number;
  readonly settled_seq: number | null;
  /** For a waiting job: the end of an expired lease that its worker may still resume. */
  readonly lease_until: number | null;
  readonly started_at: number | null;
}

export const RUN_COLUMNS = `job.seq, job.id, job.channel, job.state, job.plain, job.pending, job.parents, job.parked, job.grp, job.workgroup, job.weight,
  job.weight_part, job.attempts_made, job.lease, job.worker, job.settled_lease, job.settled_seq, job.lease_until, job.started_at,
  ${columnsWhere(({ inRun }) => inRun === true)}`;

/** The columns of an ended job, with the name of its worker. */
export interface EndRow {
  readonly id: string;
  readonly state: 'completed' | 'failed' | 'cancelled';
  readonly attempts_made: number;
  readonly started_at: number | null;
  readonly finished_at: number | null;
  readonly error: string | null;
  readonly output: string | null;
  readonly outcome_files: string | null;
  readonly worker_name: string | null;
}

export const END_COLUMNS = `${packed('job.id, job.state, job.attempts_made, job.started_at, job.finished_at, worker.name AS worker_name, job.outcome_files')}, job.error, job.output`;

export function settledJob(row: EndRow): SettledJob {
  return {
    id: row.id,
    state: row.state,
    ...(row.state === 'completed'
      ? { output: storedJson<NonNullable<SettledJob['output']>>(row.output ?? 'null') }
      : {
          error: storedJson<JobError>(row.error ?? '{}'),
          ...(row.output !== null && { output: storedJson<NonNullable<SettledJob['output']>>(row.output) }),
        }),
    ...(row.outcome_files !== null && { files: storedJson<JobFiles>(row.outcome_files) }),
    attempts: row.attempts_made,
    // A cancelled job was ended by its owner, no matter which worker ran it.
    ...(row.worker_name !== null && row.state !== 'cancelled' && { worker: row.worker_name }),
    ...(row.started_at !== null && { startedAt: row.started_at }),
    finishedAt: row.finished_at ?? 0,
  };
}

export function isEnded(state: JobState): state is EndRow['state'] {
  return state === 'completed' || state === 'failed' || state === 'cancelled';
}

/** JSON text preserves whatever a task put into its message, including NUL. `code` comes first: see FAILED_FOR_PARENT in graph.ts. */
export function errorText(error: JobError): string {
  return JSON.stringify(boundedError(error));
}
