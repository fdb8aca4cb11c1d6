import type { JobInput, SettledJob } from '../job/job.js';
import type { LeaseKey, SettleAnswer, Settlement } from '../job/verbs.js';
import { cancelJobs } from './cancel.js';
import { changeAndRead } from './change.js';
import { claimUpTo } from './claim.js';
import { deleteInChunks } from './delete.js';
import type { Driver } from './driver.js';
import { extendInChunks, lostInChunks } from './extend.js';
import { drawFile, enterFile, fileOfLease, knownFiles, type StoredFile, sweepFiles, useFile } from './files.js';
import { putGroup } from './groups.js';
import { readHistory, recordInChunks } from './history.js';
import { getJob } from './job-record.js';
import type { CancelledJob, LedgerChange } from './ledger-change.js';
import { getGroup, getWorkgroup, graphOf, idsLike, listChannels, listGroups, listJobs, listWorkgroups } from './list.js';
import { maintain } from './maintain.js';
import { agreeOnNote, readNote, writeNote } from './notes.js';
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
 * The Master's memory of jobs, in SQL, whatever the engine. No network but the database's and no timers: `now` (milliseconds, steady: `Clock.now`) is
 * passed with each call, and so are instants made from it. What is stored and returned is in the ledger's own time, except for `nextAt` and
 * `dueAt`, which are for timers. All calls of one event-loop turn share one transaction (group commit) and take effect in their order; what
 * touches hundreds of jobs is done in portions, with other calls in between. A verb has a file of its own; its method here only opens the transaction.
 */
export class Ledger {
  readonly #operations: Operations;

  /** Use `openLedger`. The driver's schema is up to date; `shard` numbers this opener among those who have the ledger open. */
  constructor(driver: Driver, options: requests.LedgerOptions, shard: number) {
    this.#operations = new Operations(driver, options, shard);
  }

  /** Before anything else, if there is a clock: it may have been set since the ledger was last at work. */
  async begin(): Promise<void> {
    const { time } = this.#operations;
    time.adopt(await this.#run((transaction) => time.look(transaction, true)));
  }

  /** Calls `listener` after each commit with what changed, also by other Masters on the same ledger. The returned function ends it. */
  watch(listener: (change: LedgerChange) => void): () => void {
    return this.#operations.watch(listener);
  }

  close(): Promise<void> {
    return this.#operations.close();
  }

  /**
   * Does what is due, a bounded amount a call: takes back leases that ended (charging an attempt, code `lease-expired`, or `timeout` where the run was
   * over its time limit) unless `keepLeases`, fires schedules, releases jobs of resumed groups and opened workgroups, deletes what retention has outlived.
   */
  maintain(now: number, { keepLeases = false }: { readonly keepLeases?: boolean } = {}): Promise<requests.MaintenanceResult> {
    return maintain(this.#operations, now, keepLeases);
  }

  /** Stores a small durable value of the Master's own, such as the task version counter. */
  remember(key: string, value: string): Promise<void> {
    return this.#run((transaction) => writeNote(transaction, key, value));
  }

  recall(key: string): Promise<string | undefined> {
    return this.#run((transaction) => readNote(transaction, key));
  }

  /** Stores the value if there is none for the key yet; returns the one that is kept, which may be another Master's. */
  agree(key: string, value: string): Promise<string> {
    return this.#run((transaction) => agreeOnNote(transaction, key, value));
  }

  /**
   * Adds jobs in order; one whose id is known already is left as it is. Parents may be anywhere in the list or in the ledger already. Rejects before
   * anything is written: `job-invalid`, `parent-unknown`, `graph-cycle`, `graph-too-large`. Lists with parents are all or nothing.
   */
  add(jobs: readonly JobInput[], now: number): Promise<requests.AddedJob[]> {
    return pushJobs(this.#operations, jobs, now);
  }

  /**
   * Leases up to `limit` ready jobs of these channels to a worker that has the labels they require: priority first, then oldest. Fewer if their data
   * together would not fit in a message. What is paused, held or full is passed over.
   */
  claim(claim: requests.Claim, now: number): Promise<requests.LeasedJob[]> {
    return claimUpTo(this.#operations, claim, now);
  }

  /**
   * Renews the leases of a worker, but never beyond the time limit of the run and a grace (TIMEOUT_GRACE_MS); returns those that are no longer its own. The
   * time limit of `paused.leases`, if leased for less than MAX_WAIT_MS, counts from `now`, else from the lease; so does that of `paused.ended`, for
   * MAX_WAIT_MS beyond the limit. A lease that expired is resumed, and not charged, unless the job was given to another worker, a duplicate of it runs, or
   * its workgroup is full.
   */
  extend(worker: WorkerRef, leases: readonly LeaseKey[], until: number, now: number, paused?: Paused): Promise<LeaseKey[]> {
    return extendInChunks(this.#operations, worker, leases, until, now, paused);
  }

  /** Returns those of the leases that are not the worker's. Nothing is renewed. */
  lost(worker: WorkerRef, leases: readonly LeaseKey[]): Promise<LeaseKey[]> {
    return lostInChunks(this.#operations, worker, leases);
  }

  /**
   * Records outcomes, each in one transaction with its last reports, its duplicates, its children and its hold; returns one answer each. A `released`
   * outcome gives the job back to the front without charging an attempt. Children that cannot be created, or that `policy` (default: only those of the
   * run's own channel) refuses, make the run a failed one (`children-invalid`, not retried), and so does a hold that is too long (`hold-too-long`).
   */
  settle(worker: WorkerRef, settlements: readonly Settlement[], now: number, policy?: ChildPolicy): Promise<SettleAnswer[]> {
    return settleInChunks(this.#operations, worker, settlements, now, policy);
  }

  /**
   * After a worker returned: renews its leases among `holding`, or resumes them as `extend` does, gives back all others that it had, and returns which of
   * `holding` are not its own. With `charge` (its process had restarted: it may have died of the job) what is given back costs an attempt and may
   * fail with `worker-lost`; without, the worker never received it and nothing is charged.
   */
  reconcile(worker: WorkerRef, holding: readonly LeaseKey[], until: number, { charge }: { readonly charge: boolean }, now: number) {
    return reconcileAll(this.#operations, worker, holding, until, charge, now);
  }

  /** Ends jobs as cancelled, also running ones; returns which, and their workers, so that these can be notified. Unknown and ended ids are left out. */
  cancel(ids: readonly string[], now: number): Promise<CancelledJob[]> {
    const { workers } = this.#operations;
    return this.#operations.inChunks(ids, (transaction, chunk) => cancelJobs(transaction, workers, chunk, transaction.at(now)));
  }

  /** Failed and cancelled jobs wait again, with all their attempts; descendants that failed because of them are blocked again. Returns the ids. */
  retry(ids: readonly string[], now: number): Promise<string[]> {
    return retryJobs(this.#operations, ids, now);
  }

  /**
   * Failed jobs that match wait again: at most `limit` jobs, oldest first; returns how many. What fails again meanwhile does not count again.
   * With the state `cancelled`, the cancelled ones.
   */
  redrive(filter: records.RedriveFilter, limit: number, now: number): Promise<number> {
    return redrive(this.#operations, filter, limit, now);
  }

  /**
   * Jobs in any state begin anew: no output, no history, all attempts (or so many), not delayed; running ones are cancelled. Those whose parents have not
   * ended are blocked again; their own children are left as they are.
   */
  reset(ids: readonly string[], now: number, { attempts }: { readonly attempts?: number } = {}): Promise<CancelledJob[]> {
    return resetJobs(this.#operations, ids, now, attempts);
  }

  /**
   * Changes a job that has not ended; of one that runs only what matters afterwards. With `ended` also one that has ended, except for its attempts; the
   * change matters when it is reset or retried. Undefined: unknown. Rejects with `job-invalid` or `job-ended`.
   */
  change(id: string, changes: records.JobChanges, now: number, { ended = false }: { readonly ended?: boolean } = {}) {
    return changeAndRead(this.#operations, id, changes, now, ended);
  }

  /** Deletes jobs with all their descendants; running ones are cancelled. Returns how many were deleted, and which of them ran. */
  delete(ids: readonly string[], now: number): Promise<{ readonly deleted: number; readonly cancelled: CancelledJob[] }> {
    return deleteInChunks(this.#operations, ids, now);
  }

  /** Without `now` a job that waits for its time counts as one that does not. */
  get(id: string, now = Number.POSITIVE_INFINITY): Promise<records.JobRecord | undefined> {
    return this.#run((transaction) => getJob(transaction, id, transaction.at(now)));
  }

  /** The states of jobs, by id; ids that are unknown are left out. */
  async states(ids: readonly string[]): Promise<ReadonlyMap<string, records.JobState>> {
    const found = await this.#operations.inChunks(ids, jobStates);
    return new Map(found.map(({ id, state }) => [id, state]));
  }

  /** At most `limit` ids with this prefix, in their order: the prefix itself comes first. */
  idsLike(prefix: string, limit: number): Promise<string[]> {
    return this.#operations.run(limit, (transaction) => idsLike(transaction, prefix, limit));
  }

  list(filter: records.JobFilter, page: requests.Page & { readonly oldestFirst?: boolean }, now: number): Promise<records.JobPage> {
    return this.#operations.run(page.limit, (transaction) => listJobs(transaction, filter, page, transaction.at(now)));
  }

  /** Settled jobs in the order of their settlement, after the given cursor; fewer than `limit` if their outputs are large, none only at the end. */
  settledAfter(cursor: number, limit: number): Promise<{ readonly cursor: number; readonly job: SettledJob }[]> {
    return this.#operations.run(limit, (transaction) => settledAfter(transaction, cursor, limit));
  }

  /** The cursor of the latest settlement; 0 if there is none. */
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
   * Adds reports of a worker's runs to the history of their jobs, also of those that have ended, as long as no other worker has had the job. Beyond
   * 500 lines a job they are left out, and one line says so; 100 more are kept for what comes with the outcomes of runs.
   */
  record(worker: WorkerRef, entries: readonly requests.HistoryInput[], now: number): Promise<void> {
    return recordInChunks(this.#operations, worker, entries, now);
  }

  history(id: string, after: number, limit: number): Promise<records.HistoryEntry[]> {
    return this.#operations.run(limit, (transaction) => readHistory(transaction, id, after, limit));
  }

  /** Makes a group, or changes the given fields of one that is there. */
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

  /** Writes one row: jobs of the group, also later ones, start no more until it is resumed. Running ones go on. False: unknown. */
  pauseGroup(id: string): Promise<boolean> {
    return setGroupPaused(this.#operations, id, true);
  }

  resumeGroup(id: string): Promise<boolean> {
    return setGroupPaused(this.#operations, id, false);
  }

  /** Its failed jobs wait again. Returns how many; undefined: unknown. */
  retryGroup(id: string, now: number): Promise<number | undefined> {
    return retryGroup(this.#operations, id, now);
  }

  /** All to the beginning: with seeds, all other jobs are deleted; those that stay wait again. Running ones are cancelled. Undefined: unknown. */
  resetGroup(id: string, now: number): Promise<CancelledJob[] | undefined> {
    return resetGroup(this.#operations, id, now);
  }

  /** Cancels all that has not ended. Undefined: unknown. */
  cancelGroup(id: string, now: number): Promise<CancelledJob[] | undefined> {
    return cancelGroup(this.#operations, id, now);
  }

  /** Deletes it with its jobs, running ones are cancelled. Undefined: unknown. */
  deleteGroup(id: string, now: number): Promise<CancelledJob[] | undefined> {
    return deleteGroup(this.#operations, id, now);
  }

  /** Makes a workgroup, or changes the given limits of one that is there. */
  putWorkgroup(workgroup: records.WorkgroupInput, now: number): Promise<records.WorkgroupRecord> {
    return this.#run((transaction) => putWorkgroup(transaction, workgroup, transaction.at(now)));
  }

  /** No job of it starts before `until`, or an earlier hold's later end. Makes it if it is unknown. */
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

  /** Makes or replaces a schedule. Rejects with `schedule-invalid` or `job-invalid`. */
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

  /** How many jobs these workers, by id, have leased. */
  countLeased(workers: readonly string[]): Promise<number> {
    return this.#run((transaction) => countLeased(transaction, workers));
  }

  /** Sets or clears marks of a worker; enters one that is not known yet. Its leases stay its own until they end. */
  markWorker(worker: WorkerRef, marks: requests.WorkerMarks, now: number): Promise<records.WorkerRecord> {
    return this.#run((transaction) => markWorker(transaction, this.#operations.workers, worker, marks, transaction.at(now)));
  }

  /** The stored file with this content; its unused time begins anew. Undefined: it has to be stored. */
  useFile(sha256: string, now: number): Promise<StoredFile | undefined> {
    return this.#run((transaction) => useFile(transaction, sha256, transaction.at(now)));
  }

  /** A number under which content can be stored, to be entered afterwards. */
  drawFile(): Promise<number> {
    return this.#run(drawFile);
  }

  /** Enters a file whose content is stored. Returns the one that is kept: if that has another number, this content is superfluous. */
  enterFile(file: StoredFile, now: number): Promise<StoredFile> {
    return this.#run((transaction) => enterFile(transaction, file, transaction.at(now)));
  }

  /** Removes the entries of files that no job names and that were last used before this instant; returns them, at most `limit`. */
  sweepFiles(before: number, limit: number): Promise<StoredFile[]> {
    return this.#operations.run(limit, (transaction) => sweepFiles(transaction, transaction.at(before), limit));
  }

  /** Which of these numbers belong to files. */
  knownFiles(seqs: readonly number[]): Promise<ReadonlySet<number>> {
    return this.#operations.run(seqs.length, (transaction) => knownFiles(transaction, seqs));
  }

  /** A file of a job that this worker runs; undefined if it does not, or the job does not name it. */
  fileOfLease(worker: WorkerRef, { id, lease }: LeaseKey, sha256: string): Promise<StoredFile | undefined> {
    return this.#run((transaction) => fileOfLease(transaction, { id, lease, worker: worker.id, sha256 }));
  }

  #run<T>(work: (transaction: Transaction) => Promise<T>): Promise<T> {
    return this.#operations.run(1, work);
  }
}
