import { PeerworkError } from '../errors.js';
import type { JobInput, SettledJob } from '../job/job.js';
import { type CheckedJob, checkJobInput, integer } from '../job/job-input.js';
import { MAX_ATTEMPTS, MAX_GRAPH_EDGES, MAX_GRAPH_JOBS, MAX_JOB_DATA_BYTES } from '../job/limits.js';
import type { LeaseKey, SettleAnswer, Settlement } from '../job/verbs.js';
import { addJobs } from './add.js';
import { cancelJobs } from './cancel.js';
import { changeJob } from './change.js';
import { claimJobs } from './claim.js';
import { deleteJobs } from './delete.js';
import { extendLeases, lostLeases } from './extend.js';
import { readHistory, recordHistory } from './history.js';
import { getJob } from './job-record.js';
import type {
  AddedJob,
  CancelledJob,
  ChannelRecord,
  ChildPolicy,
  Claim,
  HistoryEntry,
  HistoryInput,
  JobChanges,
  JobCounts,
  JobFilter,
  JobLedger,
  JobPage,
  JobRecord,
  JobState,
  LeasedJob,
  Paused,
  RedriveFilter,
  WorkerRef,
} from './ledger.js';
import { idsLike, listChannels, listJobs } from './list.js';
import { countJobs, jobStates, lastSettled, settledAfter } from './read.js';
import { readRuns } from './read-runs.js';
import { reconcileLeases } from './reconcile.js';
import { resetRuns, retryRuns } from './restart.js';
import { deadRows } from './select.js';
import { settleRuns } from './settle.js';
import { CHUNK, SqlBase } from './sql-base.js';

/** The verbs about jobs, each taken to its statements. */
export class SqlJobs extends SqlBase implements JobLedger {
  async add(jobs: readonly JobInput[], now: number): Promise<AddedJob[]> {
    // In the turn of the call if it is short, so that claims of this turn share the transaction.
    const checked = jobs.length <= CHUNK ? checkAll(jobs, this.time.at(now)) : await this.#checkLong(jobs, this.time.at(now));
    // Jobs that name each other must not be seen apart.
    const edges = checked.reduce((sum, { parents }) => sum + parents.length, 0);
    if (edges === 0)
      return this.inChunks(checked, (transaction, chunk) => addJobs(transaction, chunk, this.adding(transaction, now)), weightOf);
    if (checked.length > MAX_GRAPH_JOBS) throw new PeerworkError('graph-too-large', `${checked.length} jobs, at most ${MAX_GRAPH_JOBS}`);
    if (edges > MAX_GRAPH_EDGES) throw new PeerworkError('graph-too-large', `${edges} names of parents, at most ${MAX_GRAPH_EDGES}`);
    return this.run(checked.length, (transaction) => addJobs(transaction, checked, this.adding(transaction, now)));
  }

  /** Checking a million jobs takes seconds: others have their turns between. */
  async #checkLong(jobs: readonly JobInput[], now: number): Promise<CheckedJob[]> {
    const checked: CheckedJob[] = [];
    for (let from = 0; from < jobs.length; from += CHUNK) {
      for (const job of checkAll(jobs.slice(from, from + CHUNK), now)) checked.push(job);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return checked;
  }

  async claim(claim: Claim, now: number): Promise<LeasedJob[]> {
    const leased: LeasedJob[] = [];
    let bytes = 0;
    while (leased.length < claim.limit) {
      const limit = Math.min(CHUNK, claim.limit - leased.length);
      const jobs = await this.run(limit, async (transaction) => {
        const until = transaction.at(claim.until);
        return claimJobs(transaction, await this.workers.seqOf(transaction, claim.worker), { ...claim, limit, until }, transaction.at(now));
      });
      leased.push(...jobs);
      bytes += jobs.reduce((sum, job) => sum + Buffer.byteLength(job.data), 0);
      if (jobs.length < limit || bytes > MAX_JOB_DATA_BYTES / 2) break;
    }
    return leased;
  }

  async extend(worker: WorkerRef, leases: readonly LeaseKey[], until: number, now: number, paused?: Paused): Promise<LeaseKey[]> {
    return this.inChunks(leases, async (transaction, chunk) => {
      const seq = await this.workers.seqOf(transaction, worker);
      return extendLeases(transaction, seq, chunk, transaction.at(until), transaction.at(now), paused);
    });
  }

  async lost(worker: WorkerRef, leases: readonly LeaseKey[]): Promise<LeaseKey[]> {
    return this.inChunks(leases, async (transaction, chunk) =>
      lostLeases(transaction, await this.workers.seqOf(transaction, worker), chunk),
    );
  }

  async settle(
    worker: WorkerRef,
    settlements: readonly Settlement[],
    now: number,
    policy: ChildPolicy = ownChannel,
  ): Promise<SettleAnswer[]> {
    return this.inChunks(
      settlements,
      async (transaction, chunk) =>
        settleRuns(transaction, await this.workers.seqOf(transaction, worker), chunk, policy, this.adding(transaction, now)),
      ({ outcome, reports = [] }) =>
        1 + (outcome.state === 'completed' ? (outcome.children?.length ?? 0) : 0) + Math.floor(reports.length / REPORTS_PER_WEIGHT),
    );
  }

  async reconcile(
    worker: WorkerRef,
    holding: readonly LeaseKey[],
    until: number,
    options: { readonly charge: boolean },
    now: number,
  ): Promise<LeaseKey[]> {
    return this.run(holding.length, async (transaction) => {
      const seq = await this.workers.seqOf(transaction, worker);
      return reconcileLeases(transaction, seq, holding, transaction.at(until), options.charge, transaction.at(now));
    });
  }

  async cancel(ids: readonly string[], now: number): Promise<CancelledJob[]> {
    return this.inChunks(ids, (transaction, chunk) => cancelJobs(transaction, this.workers, chunk, transaction.at(now)));
  }

  async retry(ids: readonly string[], now: number): Promise<string[]> {
    return this.inChunks(ids, async (transaction, chunk) => {
      const rows = [...(await readRuns(transaction, chunk)).values()];
      return (await retryRuns(transaction, rows, transaction.at(now))).map(({ id }) => id);
    });
  }

  async redrive(filter: RedriveFilter, limit: number, now: number): Promise<number> {
    let redriven = 0;
    const last = await this.lastSettled();
    while (redriven < limit) {
      const count = Math.min(CHUNK, limit - redriven);
      const some = await this.run(count, async (transaction) =>
        retryRuns(transaction, await deadRows(transaction, filter, last, count), transaction.at(now)),
      );
      redriven += some.length;
      if (some.length < count) break;
    }
    return redriven;
  }

  async reset(ids: readonly string[], now: number, options: { readonly attempts?: number } = {}): Promise<CancelledJob[]> {
    const attempts = integer(options.attempts, 'attempts', 1, MAX_ATTEMPTS);
    return this.inChunks(ids, async (transaction, chunk) =>
      resetRuns(transaction, this.workers, [...(await readRuns(transaction, chunk)).values()], attempts, transaction.at(now)),
    );
  }

  async change(id: string, changes: JobChanges, now: number): Promise<JobRecord | undefined> {
    return this.run(1, async (transaction) =>
      (await changeJob(transaction, this.lanes, id, changes, transaction.at(now)))
        ? getJob(transaction, id, transaction.at(now))
        : undefined,
    );
  }

  async delete(ids: readonly string[], now: number): Promise<{ readonly deleted: number; readonly cancelled: CancelledJob[] }> {
    const parts = await this.inChunks(ids, async (transaction, chunk) => [
      await deleteJobs(transaction, this.workers, [...(await readRuns(transaction, chunk)).values()], transaction.at(now)),
    ]);
    return {
      deleted: parts.reduce((sum, { deleted }) => sum + deleted, 0),
      cancelled: parts.flatMap(({ cancelled }) => cancelled),
    };
  }

  get(id: string, now = Number.POSITIVE_INFINITY): Promise<JobRecord | undefined> {
    return this.run(1, (transaction) => getJob(transaction, id, transaction.at(now)));
  }

  async states(ids: readonly string[]): Promise<ReadonlyMap<string, JobState>> {
    const found = await this.inChunks(ids, (transaction, chunk) => jobStates(transaction, chunk));
    return new Map(found.map(({ id, state }) => [id, state]));
  }

  idsLike(prefix: string, limit: number): Promise<string[]> {
    return this.run(limit, (transaction) => idsLike(transaction, prefix, limit));
  }

  list(
    filter: JobFilter,
    page: { readonly after?: string; readonly limit: number; readonly oldestFirst?: boolean },
    now: number,
  ): Promise<JobPage> {
    return this.run(page.limit, (transaction) => listJobs(transaction, filter, page, transaction.at(now)));
  }

  settledAfter(cursor: number, limit: number): Promise<{ readonly cursor: number; readonly job: SettledJob }[]> {
    return this.run(limit, (transaction) => settledAfter(transaction, cursor, limit));
  }

  lastSettled(): Promise<number> {
    return this.run(1, lastSettled);
  }

  counts(): Promise<JobCounts> {
    return this.run(1, countJobs);
  }

  channels(): Promise<ChannelRecord[]> {
    return this.run(1, listChannels);
  }

  async record(worker: WorkerRef, entries: readonly HistoryInput[], now: number): Promise<void> {
    await this.inChunks(entries, async (transaction, chunk) => {
      await recordHistory(transaction, await this.workers.seqOf(transaction, worker), chunk, transaction.at(now));
      return [];
    });
  }

  history(id: string, after: number, limit: number): Promise<HistoryEntry[]> {
    return this.run(limit, (transaction) => readHistory(transaction, id, after, limit));
  }
}

/** To keep a few lines is a small part of what it costs to settle a job. */
const REPORTS_PER_WEIGHT = 4;
/** A chunk holds 8 MB at most, unless one job has more: writing more at once would hold up the others. */
const CHARS_PER_WEIGHT = 16 * 1024;

function weightOf({ data }: CheckedJob): number {
  return 1 + Math.floor(data.length / CHARS_PER_WEIGHT);
}

function checkAll(jobs: readonly JobInput[], now: number): CheckedJob[] {
  return jobs.map((job) => checkJobInput(job, now));
}

const ownChannel = () => ({});
