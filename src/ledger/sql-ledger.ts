import type { JobInput, SettledJob } from '../job/job.js';
import { type CheckedJob, checkJobInput } from '../job/job-input.js';
import { MAX_JOB_DATA_BYTES } from '../job/limits.js';
import type { LeaseKey, SettleAnswer, Settlement } from '../job/verbs.js';
import { addJobs } from './add.js';
import { cancelJobs } from './cancel.js';
import { claimJobs } from './claim.js';
import type { Driver } from './driver.js';
import { expireLeases } from './expire.js';
import { extendLeases } from './extend.js';
import { GroupCommit } from './group-commit.js';
import type { AddedJob, CancelledJob, Claim, JobCounts, JobRecord, LeasedJob, Ledger, LedgerChange, WorkerRef } from './ledger.js';
import { countJobs, getJob, lastSettled, nextWakeAt, settledAfter } from './read.js';
import { reconcileLeases } from './reconcile.js';
import { settleRuns } from './settle.js';
import { WorkerBook } from './worker-book.js';

const RECALL = 'SELECT value FROM note WHERE name = ?';
const REMEMBER_FIRST = 'INSERT INTO note (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING';
const REMEMBER = 'INSERT INTO note (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value';

/** Jobs per operation. Longer lists become several, so that no transaction holds up the event loop for long; each is all or nothing. */
const CHUNK = 500;

/** The ledger in SQL, whatever the engine: takes each verb to its statements, in a group commit. */
export class SqlLedger implements Ledger {
  readonly #driver: Driver;
  readonly #random: () => number;
  readonly #workers = new WorkerBook();
  readonly #commits: GroupCommit;

  /** The driver's schema is up to date. `random` answers numbers from 0 to below 1. */
  constructor(driver: Driver, random: () => number) {
    this.#driver = driver;
    this.#random = random;
    this.#commits = new GroupCommit(
      driver,
      () => this.#workers.forget(),
      (change) => driver.announce?.(change),
    );
  }

  async add(jobs: readonly JobInput[], now: number): Promise<AddedJob[]> {
    const checked: CheckedJob[] = jobs.map((job) => checkJobInput(job));
    return this.#inChunks(checked, (transaction, chunk) => addJobs(transaction, chunk, now, this.#random));
  }

  async claim(claim: Claim, now: number): Promise<LeasedJob[]> {
    const leased: LeasedJob[] = [];
    let bytes = 0;
    while (leased.length < claim.limit) {
      const limit = Math.min(CHUNK, claim.limit - leased.length);
      const jobs = await this.#commits.run(limit, async (transaction) =>
        claimJobs(transaction, await this.#workers.seqOf(transaction, claim.worker), { ...claim, limit }, now),
      );
      leased.push(...jobs);
      bytes += jobs.reduce((sum, job) => sum + Buffer.byteLength(job.data), 0);
      if (jobs.length < limit || bytes > MAX_JOB_DATA_BYTES / 2) break;
    }
    return leased;
  }

  async extend(worker: WorkerRef, leases: readonly LeaseKey[], until: number): Promise<LeaseKey[]> {
    return this.#inChunks(leases, async (transaction, chunk) =>
      extendLeases(transaction, await this.#workers.seqOf(transaction, worker), chunk, until),
    );
  }

  async settle(worker: WorkerRef, settlements: readonly Settlement[], now: number): Promise<SettleAnswer[]> {
    return this.#inChunks(settlements, async (transaction, chunk) =>
      settleRuns(transaction, await this.#workers.seqOf(transaction, worker), chunk, now, this.#random),
    );
  }

  async reconcile(
    worker: WorkerRef,
    holding: readonly LeaseKey[],
    until: number,
    options: { readonly charge: boolean },
    now: number,
  ): Promise<LeaseKey[]> {
    return this.#commits.run(holding.length, async (transaction) =>
      reconcileLeases(transaction, await this.#workers.seqOf(transaction, worker), holding, until, options.charge, now),
    );
  }

  async cancel(ids: readonly string[], now: number): Promise<CancelledJob[]> {
    return this.#inChunks(ids, (transaction, chunk) => cancelJobs(transaction, this.#workers, chunk, now));
  }

  async expire(now: number): Promise<number> {
    let expired = 0;
    for (;;) {
      const count = await this.#commits.run(1, (transaction) => expireLeases(transaction, now, CHUNK));
      expired += count;
      if (count < CHUNK) return expired;
    }
  }

  get(id: string): Promise<JobRecord | undefined> {
    return this.#commits.run(1, (transaction) => getJob(transaction, id));
  }

  settledAfter(cursor: number, limit: number): Promise<{ readonly cursor: number; readonly job: SettledJob }[]> {
    return this.#commits.run(limit, (transaction) => settledAfter(transaction, cursor, limit));
  }

  lastSettled(): Promise<number> {
    return this.#commits.run(1, lastSettled);
  }

  counts(): Promise<JobCounts> {
    return this.#commits.run(1, countJobs);
  }

  nextWakeAt(now: number): Promise<number | undefined> {
    return this.#commits.run(1, (transaction) => nextWakeAt(transaction, now));
  }

  async remember(key: string, value: string): Promise<void> {
    await this.#commits.run(1, (transaction) => transaction.run(REMEMBER, [key, value]));
  }

  async recall(key: string): Promise<string | undefined> {
    const [row] = await this.#commits.run(1, (transaction) => transaction.all<{ value: string }>(RECALL, [key]));
    return row?.value;
  }

  agree(key: string, value: string): Promise<string> {
    return this.#commits.run(1, async (transaction) => {
      await transaction.run(REMEMBER_FIRST, [key, value]);
      const [row] = await transaction.all<{ value: string }>(RECALL, [key]);
      return row?.value ?? value;
    });
  }

  watch(listener: (change: LedgerChange) => void): void {
    this.#driver.onAnnounced?.(listener);
  }

  async close(): Promise<void> {
    await this.#commits.close();
    await this.#driver.close();
  }

  async #inChunks<Item, Answer>(
    items: readonly Item[],
    work: (transaction: Parameters<Parameters<GroupCommit['run']>[1]>[0], chunk: readonly Item[]) => Promise<Answer[]>,
  ): Promise<Answer[]> {
    if (items.length === 0) return [];
    if (items.length <= CHUNK) return this.#commits.run(items.length, (transaction) => work(transaction, items));
    const chunks: Promise<Answer[]>[] = [];
    for (let start = 0; start < items.length; start += CHUNK) {
      const chunk = items.slice(start, start + CHUNK);
      chunks.push(this.#commits.run(chunk.length, (transaction) => work(transaction, chunk)));
    }
    return (await Promise.all(chunks)).flat();
  }
}
