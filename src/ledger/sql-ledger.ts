import type { Ledger, ScheduleInput, ScheduleRecord, Tended, WorkerMarks, WorkerRecord, WorkerRef } from './ledger.js';
import { deleteSchedule, getSchedule, listSchedules, pauseSchedule, putSchedule } from './schedules.js';
import { SqlGroups } from './sql-groups.js';
import { tend } from './tend.js';
import { countLeased, getWorker, listWorkers, markWorker } from './worker-marks.js';

const RECALL = 'SELECT value FROM note WHERE name = ?';
const REMEMBER_FIRST = 'INSERT INTO note (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING';
const REMEMBER = 'INSERT INTO note (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value';

/** The ledger in SQL, whatever the engine: takes each verb to its statements, in a group commit. */
export class SqlLedger extends SqlGroups implements Ledger {
  /** Before anything else: the clock may have been set since the ledger was last at work. */
  async begin(): Promise<void> {
    this.time.adopt(await this.run(1, (transaction) => this.time.look(transaction, true)));
  }

  async tend(now: number, { keepLeases = false }: { readonly keepLeases?: boolean } = {}): Promise<Tended> {
    const { look, tended } = await this.run(1, async (transaction) => {
      const look = await this.time.look(transaction);
      const moved = look?.moved ?? false;
      // What this Master has renewed since another one shifted the ledger, it has renewed by the time of before.
      const tended = await tend(transaction, this.options, this.workers, keepLeases || moved, this.adding(transaction, now));
      return { look, tended: { ...tended, moved } };
    });
    this.time.adopt(look);
    const { nextAt } = tended;
    return { ...tended, nextAt: nextAt === undefined ? undefined : this.time.back(nextAt) };
  }

  putSchedule(schedule: ScheduleInput, now: number): Promise<ScheduleRecord> {
    return this.run(1, (transaction) => putSchedule(transaction, schedule, transaction.at(now)));
  }

  pauseSchedule(id: string, paused: boolean, now: number): Promise<ScheduleRecord | undefined> {
    return this.run(1, (transaction) => pauseSchedule(transaction, id, paused, transaction.at(now)));
  }

  deleteSchedule(id: string): Promise<boolean> {
    return this.run(1, (transaction) => deleteSchedule(transaction, id));
  }

  getSchedule(id: string): Promise<ScheduleRecord | undefined> {
    return this.run(1, (transaction) => getSchedule(transaction, id));
  }

  listSchedules(): Promise<ScheduleRecord[]> {
    return this.run(1, listSchedules);
  }

  listWorkers(): Promise<WorkerRecord[]> {
    return this.run(1, listWorkers);
  }

  getWorker(id: string): Promise<WorkerRecord | undefined> {
    return this.run(1, (transaction) => getWorker(transaction, id));
  }

  countLeased(workers: readonly string[]): Promise<number> {
    return this.run(1, (transaction) => countLeased(transaction, workers));
  }

  markWorker(worker: WorkerRef, marks: WorkerMarks, now: number): Promise<WorkerRecord> {
    return this.run(1, async (transaction) => {
      await this.workers.seqOf(transaction, worker);
      return markWorker(transaction, worker, marks, transaction.at(now));
    });
  }

  async remember(key: string, value: string): Promise<void> {
    await this.run(1, (transaction) => transaction.run(REMEMBER, [key, value]));
  }

  async recall(key: string): Promise<string | undefined> {
    const [row] = await this.run(1, (transaction) => transaction.all<{ value: string }>(RECALL, [key]));
    return row?.value;
  }

  agree(key: string, value: string): Promise<string> {
    return this.run(1, async (transaction) => {
      await transaction.run(REMEMBER_FIRST, [key, value]);
      const [row] = await transaction.all<{ value: string }>(RECALL, [key]);
      return row?.value ?? value;
    });
  }
}
