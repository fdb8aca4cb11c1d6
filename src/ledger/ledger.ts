import type { JobInput, SettledJob } from '../job/job.js';
import type { LeaseKey, SettleAnswer, Settlement } from '../job/verbs.js';
import { cancelJobs } from './cancel.js';
import { changeAndRead } from './change.js';
import { claimUpTo } from './claim.js';
import { deleteInChunks } from './delete.js';
import type { Driver } from './driver.js';
import { extendInChunks, lostInChunks } from './extend.js';
import { FileEntries } from './files.js';
import { putGroup } from './groups.js';
import { readHistory, recordInChunks } from './history.js';
import { getJob } from './job-record.js';
import type { CancelledJob, LedgerChange } from './ledger-change.js';
import { getGroup, getWorkgroup, graphOf, idsLike, listChannels, listGroups, listJobs, listWorkgroups } from './list.js';
import { maintain } from './maintain.js';
import { agreeOnNote, readNote, replaceNote, writeNote } from './notes.js';
import { Operations } from './operations.js';
import { pushJobs } from './push.js';
import { countJobs, jobStates, lastSettled, settledAfter } from './read.js';
import { reconcileAll } from './reconcile.js';
import type * as records from './records.js';
import type { WorkerRef } from './records.js';
import type * as requests from './requests.js';
import type { ChildPolicy, Paused } from './requests.js';
import { redrive, resetJobs, retryJobs } from './restart.js';
import * as schedules from './schedules.js';
import { settleInChunks } from './settle.js';
import type { Transaction } from './transaction.js';
import { cancelGroup, deleteGroup, resetGroup, retryGroup, setGroupPaused } from './whole-group.js';
import { countLeased, getWorker, listWorkers, markWorker } from './worker-marks.js';
import { holdWorkgroup, putWorkgroup, releaseWorkgroup } from './workgroups.js';

export type { StoredFile } from './files.js';
export type * from './ledger-change.js';
export type * from './records.js';
export type * from './requests.js';

/**
 * The Master's record of jobs, in SQL, on either engine. It does no network I/O besides the database's and sets no timers. Every call takes
 * `now` in milliseconds of a steady clock (`Clock.now`), and instants derived from it. What is stored and returned is in the ledger's own
 * time, except `nextAt` and `dueAt`, which are meant for timers. All calls made in one event-loop turn share one transaction (group commit)
 * and take effect in call order; an operation on hundreds of jobs runs in chunks, with other calls in between. A verb has its own file.
 */
export class Ledger {
  /** Which content is stored, and which jobs name it. */
  readonly files: FileEntries;
  readonly #operations: Operations;

  /** For `openLedger`: the driver's schema is current, and `shard` numbers this opener among all of the ledger. */
  constructor(driver: Driver, options: requests.LedgerOptions, shard: number) {
    this.#operations = new Operations(driver, options, shard);
    this.files = new FileEntries(this.#operations);
  }

  /** Must be called first when a clock is configured: the clock may have been set since the ledger was last open. */
  async begin(): Promise<void> {
    const { time } = this.#operations;
    time.adopt(await this.#run((transaction) => time.check(transaction, true)));
  }

  /** Calls `listener` after each commit, of other Masters too, with what it changed. Returns the unsubscribe function. */
  watch(listener: (change: LedgerChange) => void): () => void {
    return this.#operations.watch(listener);
  }

  close(): Promise<void> {
    return this.#operations.close();
  }

  /**
   * Does the maintenance that is due, a bounded amount per call: expires overdue leases (an attempt is charged, with code `lease-expired`,
   * or `timeout` if the run exceeded its time limit) unless `keepLeases` is set, fires schedules, releases jobs of resumed groups and
   * opened workgroups, and deletes jobs past their retention.
   */
  maintain(now: number, { keepLeases = false }: { readonly keepLeases?: boolean } = {}): Promise<requests.MaintenanceResult> {
    return maintain(this.#operations, now, keepLeases);
  }

  /** Stores a small durable value for the Master itself, such as the task version counter. */
  remember(key: string, value: string): Promise<void> {
    return this.#run((transaction) => writeNote(transaction, key, value));
  }

  recall(key: string): Promise<string | undefined> {
    return this.#run((transaction) => readNote(transaction, key));
  }

  /** Stores the value unless there is one. Returns the value in effect, which may be another Master's. */
  agree(key: string, value: string): Promise<string> {
    return this.#run((transaction) => agreeOnNote(transaction, key, value));
  }

  /** Stores the value if the present one is still `before`, as `recall` returned it. Returns whether it was. */
  replace(key: string, before: string | undefined, value: string): Promise<boolean> {
    return this.#run((transaction) => replaceNote(transaction, key, before, value));
  }

  /**
   * Adds jobs in order, ignoring known ids. Parents may be anywhere in the list or in the ledger; lists with parents are all or nothing.
   * Rejects before anything is written: `job-invalid`, `parent-unknown`, `graph-cycle`, `graph-too-large`.
   */
  add(jobs: readonly JobInput[], now: number): Promise<requests.AddedJob[]> {
    return pushJobs(this.#operations, jobs, now);
  }

  /**
   * Leases up to `limit` ready jobs of the given channels to a worker that has the labels they require: highest priority first, then
   * oldest. Returns fewer if their data together would not fit in one message. Skips jobs that are paused, held or full.
   */
  claim(claim: requests.Claim, now: number): Promise<requests.LeasedJob[]> {
    return claimUpTo(this.#operations, claim, now);
  }

  /**
   * Renews a worker's leases, never past the run's time limit plus a grace period (TIMEOUT_GRACE_MS); returns those that no longer belong
   * to it. The time limit normally counts from the lease. For leases in `paused.leases` that were leased less than MAX_WAIT_MS ago it
   * counts from `now`; so does that of `paused.ended`, for up to MAX_WAIT_MS past the limit. An expired lease is resumed without a charge
   * unless the job has gone to another worker, a duplicate of it is running, or its workgroup is full.
   */
  extend(worker: WorkerRef, leases: readonly LeaseKey[], until: number, now: number, paused?: Paused): Promise<LeaseKey[]> {
    return extendInChunks(this.#operations, worker, leases, until, now, paused);
  }

  /** Returns the leases that do not belong to the worker. Renews nothing. */
  lost(worker: WorkerRef, leases: readonly LeaseKey[]): Promise<LeaseKey[]> {
    return lostInChunks(this.#operations, worker, leases);
  }

  /**
   * Records outcomes and returns one answer per settlement. Each outcome is written in one transaction with its last reports, its
   * duplicates, its children and its hold. A `released` outcome returns the job to its old place in the queue without charging an attempt.
   * If the children cannot be created, or `policy` (default: only the run's own channel) refuses them, the run fails with
   * `children-invalid` and is not retried; a hold that is too long fails it with `hold-too-long`.
   */
  settle(worker: WorkerRef, settlements: readonly Settlement[], now: number, policy?: ChildPolicy): Promise<SettleAnswer[]> {
    return settleInChunks(this.#operations, worker, settlements, now, policy);
  }

  /**
   * Reconciles a worker that reconnects: renews its leases among `holding` or resumes them as `extend` does, releases all its other leases,
   * and returns those of `holding` that do not belong to it. With `charge` (its process restarted, possibly because a job killed it) each
   * released job costs an attempt and may fail with `worker-lost`; without it, the worker never received those jobs and nothing is charged.
   */
  reconcile(worker: WorkerRef, holding: readonly LeaseKey[], until: number, { charge }: { readonly charge: boolean }, now: number) {
    return reconcileAll(this.#operations, worker, holding, until, charge, now);
  }

  /** Cancels jobs, running ones too; ignores unknown and ended ids. Returns them with their workers, so that these can be notified. */
  cancel(ids: readonly string[], now: number): Promise<CancelledJob[]> {
    const { workers } = this.#operations;
    return this.#operations.inChunks(ids, (transaction, chunk) => cancelJobs(transaction, workers, chunk, transaction.at(now)));
  }

  /** Makes failed and cancelled jobs, and descendants that failed because of them, wait again with all attempts. Returns the ids. */
  retry(ids: readonly string[], now: number): Promise<string[]> {
    return retryJobs(this.#operations, ids, now);
  }

  /**
   * Retries at most `limit` failed jobs that match, oldest first, or cancelled ones if the filter's state is `cancelled`. Returns how many.
   * Jobs that fail again in the meantime are not retried twice.
   */
  redrive(filter: records.RedriveFilter, limit: number, now: number): Promise<number> {
    return redrive(this.#operations, filter, limit, now);
  }

  /**
   * Resets jobs in any state: output and history are dropped, attempts restored (or set to `attempts`), delays removed, running ones
   * cancelled. Jobs with parents that have not ended become blocked again; their own children are left unchanged.
   */
  reset(ids: readonly string[], now: number, { attempts }: { readonly attempts?: number } = {}): Promise<CancelledJob[]> {
    return resetJobs(this.#operations, ids, now, attempts);
  }

  /**
   * Changes fields of a job that has not ended; for a running job, only those that take effect afterwards. With `ended`, also changes an
   * ended job, except its attempts; the change takes effect when the job is reset or retried. Resolves to undefined if the job is unknown.
   * Rejects with `job-invalid` or `job-ended`.
   */
  change(id: string, changes: records.JobChanges, now: number, { ended = false }: { readonly ended?: boolean } = {}) {
    return changeAndRead(this.#operations, id, changes, now, ended);
  }

  /** Deletes jobs with all their descendants and cancels the running ones. Returns how many were deleted, and the cancelled runs. */
  delete(ids: readonly string[], now: number): Promise<{ readonly deleted: number; readonly cancelled: CancelledJob[] }> {
    return deleteInChunks(this.#operations, ids, now);
  }

  /** Without `now`, no job is reported as delayed. */
  get(id: string, now = Number.POSITIVE_INFINITY): Promise<records.JobRecord | undefined> {
    return this.#run((transaction) => getJob(transaction, id, transaction.at(now)));
  }

  /** Maps ids to job states. Unknown ids are left out. */
  async states(ids: readonly string[]): Promise<ReadonlyMap<string, records.JobState>> {
    const found = await this.#operations.inChunks(ids, jobStates);
    return new Map(found.map(({ id, state }) => [id, state]));
  }

  /** Returns at most `limit` ids that start with this prefix, in byte order: an id equal to the prefix comes first. */
  idsLike(prefix: string, limit: number): Promise<string[]> {
    return this.#operations.run(limit, (transaction) => idsLike(transaction, prefix, limit));
  }

  list(filter: records.JobFilter, page: requests.Page & { readonly oldestFirst?: boolean }, now: number): Promise<records.JobPage> {
    return this.#operations.run(page.limit, (transaction) => listJobs(transaction, filter, page, transaction.at(now)));
  }

  /** Returns settled jobs after the cursor, in settlement order: fewer than `limit` if outputs are large, none only at the end. */
  settledAfter(cursor: number, limit: number): Promise<{ readonly cursor: number; readonly job: SettledJob }[]> {
    return this.#operations.run(limit, (transaction) => settledAfter(transaction, cursor, limit));
  }

  /** Returns the cursor of the latest settlement; 0 if there is none. */
  lastSettled(): Promise<number> {
    return this.#run(lastSettled);
  }

  counts(): Promise<records.JobCounts> {
    return this.#run(countJobs);
  }

  channels(): Promise<records.ChannelRecord[]> {
    return this.#run(listChannels);
  }

  /**
   * Appends reports of a worker's runs to the history of their jobs, ended ones too, unless another worker has leased the job since. Past
   * 500 lines per job they are dropped, and one line says so; 100 more are reserved for reports that arrive with an outcome.
   */
  record(worker: WorkerRef, entries: readonly requests.HistoryInput[], now: number): Promise<void> {
    return recordInChunks(this.#operations, worker, entries, now);
  }

  history(id: string, after: number, limit: number): Promise<records.HistoryEntry[]> {
    return this.#operations.run(limit, (transaction) => readHistory(transaction, id, after, limit));
  }

  /** Creates a group, or changes the given fields of an existing one. */
  putGroup(group: records.GroupInput, now: number): Promise<records.GroupRecord> {
    return this.#run((transaction) => putGroup(transaction, group, transaction.at(now)));
  }

  getGroup(id: string): Promise<records.GroupRecord | undefined> {
    return this.#run((transaction) => getGroup(transaction, id));
  }

  listGroups(page: requests.Page): Promise<{ readonly groups: readonly records.GroupRecord[]; readonly next?: string }> {
    return this.#operations.run(page.limit, (transaction) => listGroups(transaction, page));
  }

  graphOf(id: string, limit: number): Promise<records.GroupGraph | undefined> {
    return this.#operations.run(limit, (transaction) => graphOf(transaction, id, limit));
  }

  /** Pauses a group by writing one row: none of its jobs, later ones included, starts any more; running ones continue. False: unknown. */
  pauseGroup(id: string): Promise<boolean> {
    return setGroupPaused(this.#operations, id, true);
  }

  resumeGroup(id: string): Promise<boolean> {
    return setGroupPaused(this.#operations, id, false);
  }

  /** Retries the group's failed jobs. Returns how many; undefined if the group is unknown. */
  retryGroup(id: string, now: number): Promise<number | undefined> {
    return retryGroup(this.#operations, id, now);
  }

  /** Resets a group. With seeds, all its other jobs are deleted. Running jobs are cancelled. Undefined: unknown. */
  resetGroup(id: string, now: number): Promise<CancelledJob[] | undefined> {
    return resetGroup(this.#operations, id, now);
  }

  /** Cancels every job of the group that has not ended. Undefined: unknown. */
  cancelGroup(id: string, now: number): Promise<CancelledJob[] | undefined> {
    return cancelGroup(this.#operations, id, now);
  }

  /** Deletes the group with its jobs and cancels the running ones. Undefined: unknown. */
  deleteGroup(id: string, now: number): Promise<CancelledJob[] | undefined> {
    return deleteGroup(this.#operations, id, now);
  }

  /** Creates a workgroup, or changes the given limits of an existing one. */
  putWorkgroup(workgroup: records.WorkgroupInput, now: number): Promise<records.WorkgroupRecord> {
    return this.#run((transaction) => putWorkgroup(transaction, workgroup, transaction.at(now)));
  }

  /** Keeps jobs of a workgroup, created if unknown, from starting before `until`, or the end of a longer hold. */
  holdWorkgroup(id: string, until: number, now: number): Promise<records.WorkgroupRecord> {
    return this.#run((transaction) => holdWorkgroup(transaction, id, transaction.at(until), transaction.at(now)));
  }

  /** Ends a hold. Undefined: unknown. */
  releaseWorkgroup(id: string, now: number): Promise<records.WorkgroupRecord | undefined> {
    return this.#run((transaction) => releaseWorkgroup(transaction, id, transaction.at(now)));
  }

  getWorkgroup(id: string): Promise<records.WorkgroupRecord | undefined> {
    return this.#run((transaction) => getWorkgroup(transaction, id));
  }

  listWorkgroups(page: requests.Page): Promise<{ readonly workgroups: readonly records.WorkgroupRecord[]; readonly next?: string }> {
    return this.#operations.run(page.limit, (transaction) => listWorkgroups(transaction, page));
  }

  /** Creates or replaces a schedule. Rejects with `schedule-invalid` or `job-invalid`. */
  putSchedule(schedule: records.ScheduleInput, now: number): Promise<records.ScheduleRecord> {
    return this.#run((transaction) => schedules.putSchedule(transaction, schedule, transaction.at(now)));
  }

  pauseSchedule(id: string, paused: boolean, now: number): Promise<records.ScheduleRecord | undefined> {
    return this.#run((transaction) => schedules.pauseSchedule(transaction, id, paused, transaction.at(now)));
  }

  deleteSchedule(id: string): Promise<boolean> {
    return this.#run((transaction) => schedules.deleteSchedule(transaction, id));
  }

  getSchedule(id: string): Promise<records.ScheduleRecord | undefined> {
    return this.#run((transaction) => schedules.getSchedule(transaction, id));
  }

  listSchedules(): Promise<records.ScheduleRecord[]> {
    return this.#run(schedules.listSchedules);
  }

  listWorkers(): Promise<records.WorkerRecord[]> {
    return this.#run(listWorkers);
  }

  getWorker(id: string): Promise<records.WorkerRecord | undefined> {
    return this.#run((transaction) => getWorker(transaction, id));
  }

  /** Counts the jobs leased to these workers, given by id. */
  countLeased(workers: readonly string[]): Promise<number> {
    return this.#run((transaction) => countLeased(transaction, workers));
  }

  /** Sets or clears marks of a worker and registers it if it is unknown. Its current leases remain valid until they end. */
  markWorker(worker: WorkerRef, marks: requests.WorkerMarks, now: number): Promise<records.WorkerRecord> {
    return this.#run((transaction) => markWorker(transaction, this.#operations.workers, worker, marks, transaction.at(now)));
  }

  #run<T>(work: (transaction: Transaction) => Promise<T>): Promise<T> {
    return this.#operations.run(1, work);
  }
}
