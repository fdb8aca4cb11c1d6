import { cancelJobs } from './cancel.js';
import { deleteJobs } from './delete.js';
import { deleteGroupRow, lockGroup, putGroup, setPaused } from './groups.js';
import type {
  CancelledJob,
  GroupGraph,
  GroupInput,
  GroupLedger,
  GroupRecord,
  WorkgroupInput,
  WorkgroupLedger,
  WorkgroupRecord,
} from './ledger.js';
import { getGroup, getWorkgroup, graphOf, listGroups, listWorkgroups } from './list.js';
import { resetRuns, retryRuns } from './restart.js';
import { allOfGroup, deadRows, someOfGroup, unfinishedOfGroup } from './select.js';
import { CHUNK } from './sql-base.js';
import { SqlJobs } from './sql-jobs.js';
import type { Transaction } from './transaction.js';
import { holdWorkgroup, putWorkgroup, releaseWorkgroup } from './workgroups.js';

/** The verbs about groups and workgroups. What concerns all jobs of a group is done a piece at a time: other work goes on in between. */
export class SqlGroups extends SqlJobs implements GroupLedger, WorkgroupLedger {
  putGroup(group: GroupInput, now: number): Promise<GroupRecord> {
    return this.run(1, async (transaction) => {
      await putGroup(transaction, group, transaction.at(now));
      const record = await getGroup(transaction, group.id);
      if (record === undefined) throw new Error('a group that was made is not there');
      return record;
    });
  }

  getGroup(id: string): Promise<GroupRecord | undefined> {
    return this.run(1, (transaction) => getGroup(transaction, id));
  }

  listGroups(page: {
    readonly after?: string;
    readonly limit: number;
  }): Promise<{ readonly groups: readonly GroupRecord[]; readonly next?: string }> {
    return this.run(page.limit, (transaction) => listGroups(transaction, page));
  }

  graphOf(id: string, limit: number): Promise<GroupGraph | undefined> {
    return this.run(limit, (transaction) => graphOf(transaction, id, limit));
  }

  async pauseGroup(id: string, _now: number): Promise<boolean> {
    return (await this.#inGroup(id, (transaction, grp) => setPaused(transaction, grp, true).then(() => true))) ?? false;
  }

  async resumeGroup(id: string, _now: number): Promise<boolean> {
    return (await this.#inGroup(id, (transaction, grp) => setPaused(transaction, grp, false).then(() => true))) ?? false;
  }

  async retryGroup(id: string, now: number): Promise<number | undefined> {
    if ((await this.#inGroup(id, async () => true)) === undefined) return undefined;
    const last = await this.lastSettled();
    const retried = await this.untilNone(async (transaction) =>
      retryRuns(transaction, await deadRows(transaction, { group: id }, last, CHUNK), transaction.at(now)),
    );
    return retried.length;
  }

  /** At once: a group that is half at its beginning would be worse than one that waits a moment. */
  resetGroup(id: string, now: number): Promise<CancelledJob[] | undefined> {
    return this.#inGroup(id, async (transaction, grp) => {
      const rows = await allOfGroup(transaction, grp);
      const seeded = rows.some(({ seed }) => seed === 1);
      const gone = seeded ? rows.filter(({ seed }) => seed === 0) : [];
      const deleted = new Set(gone);
      const { cancelled } = await deleteJobs(transaction, this.workers, gone, transaction.at(now));
      const kept = rows.filter((row) => !deleted.has(row));
      return [...cancelled, ...(await resetRuns(transaction, this.workers, kept, undefined, transaction.at(now)))];
    });
  }

  cancelGroup(id: string, now: number): Promise<CancelledJob[] | undefined> {
    return this.#throughout(id, async (transaction, grp) =>
      cancelJobs(transaction, this.workers, await unfinishedOfGroup(transaction, grp, CHUNK), transaction.at(now)),
    );
  }

  async deleteGroup(id: string, now: number): Promise<CancelledJob[] | undefined> {
    const cancelled: CancelledJob[] = [];
    const deleted = await this.#throughout(id, async (transaction, grp) => {
      const rows = await someOfGroup(transaction, grp, CHUNK);
      const gone = await deleteJobs(transaction, this.workers, rows, transaction.at(now));
      cancelled.push(...gone.cancelled);
      if (rows.length === 0) await deleteGroupRow(transaction, id);
      return rows;
    });
    return deleted === undefined ? undefined : cancelled;
  }

  putWorkgroup(workgroup: WorkgroupInput, now: number): Promise<WorkgroupRecord> {
    return this.run(1, (transaction) => putWorkgroup(transaction, workgroup, transaction.at(now)));
  }

  holdWorkgroup(id: string, until: number, now: number): Promise<WorkgroupRecord> {
    return this.run(1, (transaction) => holdWorkgroup(transaction, id, transaction.at(until), transaction.at(now)));
  }

  releaseWorkgroup(id: string, now: number): Promise<WorkgroupRecord | undefined> {
    return this.run(1, (transaction) => releaseWorkgroup(transaction, id, transaction.at(now)));
  }

  getWorkgroup(id: string): Promise<WorkgroupRecord | undefined> {
    return this.run(1, (transaction) => getWorkgroup(transaction, id));
  }

  listWorkgroups(page: {
    readonly after?: string;
    readonly limit: number;
  }): Promise<{ readonly workgroups: readonly WorkgroupRecord[]; readonly next?: string }> {
    return this.run(page.limit, (transaction) => listWorkgroups(transaction, page));
  }

  #inGroup<T>(id: string, work: (transaction: Transaction, grp: number) => Promise<T>): Promise<T | undefined> {
    return this.run(1, async (transaction) => {
      const grp = await lockGroup(transaction, id);
      return grp === undefined ? undefined : work(transaction, grp);
    });
  }

  /** Does a piece of work in the group until nothing is left to do. Undefined: there is no such group. */
  async #throughout<T>(id: string, work: (transaction: Transaction, grp: number) => Promise<readonly T[]>): Promise<T[] | undefined> {
    const answers: T[] = [];
    for (let known = false; ; known = true) {
      const some = await this.#inGroup(id, work);
      if (some === undefined) return known ? answers : undefined;
      if (some.length === 0) return answers;
      answers.push(...some);
    }
  }
}
