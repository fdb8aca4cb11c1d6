import { PeerworkError } from '../errors.js';
import type { JobInput } from '../job/job.js';
import type { CheckedJob } from '../job/job-fields.js';
import { checkJobInput } from '../job/job-input.js';
import { MAX_GRAPH_EDGES, MAX_GRAPH_JOBS } from '../job/limits.js';
import { addJobs } from './add.js';
import { CHUNK, type Operations } from './operations.js';
import type { AddedJob } from './requests.js';

/** A chunk holds at most 8 MB, unless a single job is larger: writing more at once would block others. */
const CHARS_PER_WEIGHT = 16 * 1024;

/** Checks jobs and adds them: in chunks, or all at once if they refer to each other. */
export async function pushJobs(operations: Operations, jobs: readonly JobInput[], now: number): Promise<AddedJob[]> {
  const at = operations.time.at(now);
  // Check a short list synchronously, so that claims made in the same turn share its transaction.
  const checked = jobs.length <= CHUNK ? jobs.map((job) => checkJobInput(job, at)) : await checkLongList(jobs, at);
  const edges = checked.reduce((sum, { parents }) => sum + parents.length, 0);
  if (edges === 0)
    return operations.inChunks(checked, (transaction, chunk) => addJobs(transaction, chunk, operations.adding(transaction, now)), weightOf);
  // Jobs that refer to each other must become visible together.
  if (checked.length > MAX_GRAPH_JOBS) throw new PeerworkError('graph-too-large', `${checked.length} jobs, at most ${MAX_GRAPH_JOBS}`);
  if (edges > MAX_GRAPH_EDGES) throw new PeerworkError('graph-too-large', `${edges} names of parents, at most ${MAX_GRAPH_EDGES}`);
  return operations.run(checked.length, (transaction) => addJobs(transaction, checked, operations.adding(transaction, now)));
}

/** Checks in chunks with event-loop turns in between: checking a million jobs takes seconds. */
async function checkLongList(jobs: readonly JobInput[], at: number): Promise<CheckedJob[]> {
  const checked: CheckedJob[] = [];
  for (let from = 0; from < jobs.length; from += CHUNK) {
    for (const job of jobs.slice(from, from + CHUNK)) checked.push(checkJobInput(job, at));
    await new Promise((resolve) => setImmediate(resolve));
  }
  return checked;
}

function weightOf({ data }: CheckedJob): number {
  return 1 + Math.floor(data.length / CHARS_PER_WEIGHT);
}
