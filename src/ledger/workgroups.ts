import { PeerworkError } from '../errors.js';
import { checkJobField } from '../job/job-input.js';
import { check, integer } from '../job/kinds.js';
import { MAX_DELAY_MS, MAX_INSTANT } from '../job/limits.js';
import { getWorkgroup } from './list.js';
import { repeated, sized } from './lists.js';
import type { WorkgroupInput, WorkgroupRecord } from './records.js';
import { workgroupsNamed } from './rows-by-name.js';
import type { Transaction } from './transaction.js';

/** A workgroup that may keep a job from starting. */
export interface WorkgroupRow {
  readonly seq: number;
  readonly id: string;
  readonly held_until: number | null;
  readonly max_running: number | null;
  readonly rate: number | null;
  readonly period_ms: number | null;
  readonly window_at: number | null;
  readonly window_used: number;
  readonly waiting: 0 | 1;
}

const COLUMNS = 'seq, id, held_until, max_running, rate, period_ms, window_at, window_used, waiting';
const LIMITING = sized(
  (count) => `SELECT ${COLUMNS} FROM workgroup WHERE seq IN (${repeated('?', count)})
  AND (held_until > ? OR max_running IS NOT NULL OR rate IS NOT NULL) ORDER BY seq FOR UPDATE`,
);
const RUNNING = `SELECT COUNT(*) AS jobs FROM job WHERE workgroup = ? AND state = 'leased' AND workgroup IS NOT NULL`;

/** How many jobs may start in a locked workgroup: only this transaction uses its slots. */
export interface SlotBudget {
  readonly row: WorkgroupRow;
  /** How many more of its jobs may start now. */
  left: number;
  started: number;
}

/** Returns, by number, the budgets of those workgroups that limit anything now. */
export async function slotBudgetsOf(transaction: Transaction, seqs: readonly number[], now: number): Promise<Map<number, SlotBudget>> {
  const budgets = new Map<number, SlotBudget>();
  for (const row of await transaction.allOf<WorkgroupRow>(LIMITING, seqs, [now]))
    budgets.set(row.seq, { row, left: await slotsLeft(transaction, row, now), started: 0 });
  return budgets;
}

async function slotsLeft(transaction: Transaction, row: WorkgroupRow, now: number): Promise<number> {
  if (row.held_until !== null && row.held_until > now) return 0;
  let left = Number.MAX_SAFE_INTEGER;
  if (row.rate !== null) left = Math.min(left, row.rate - (isOver(row, now) ? 0 : row.window_used));
  if (row.max_running !== null && left > 0) {
    const [running] = await transaction.all<{ jobs: number }>(RUNNING, [row.seq]);
    left = Math.min(left, row.max_running - (running?.jobs ?? 0));
  }
  return Math.max(0, left);
}

/** Returns whether the rate window is over. The next window begins with the first start after that. */
function isOver({ window_at, period_ms }: WorkgroupRow, now: number): boolean {
  return window_at === null || now >= window_at + (period_ms ?? 0);
}

const STARTED = 'UPDATE workgroup SET window_at = ?, window_used = ? WHERE seq = ?';
const WAITING = sized((count) => `UPDATE workgroup SET waiting = 1 WHERE waiting = 0 AND seq IN (${repeated('?', count)})`);

/** Records the starts, and the workgroups in which jobs are parked. */
export async function useSlots(
  transaction: Transaction,
  budgets: ReadonlyMap<number, SlotBudget>,
  parked: readonly number[],
  now: number,
): Promise<void> {
  for (const { row, started } of budgets.values()) {
    if (row.rate === null || started === 0) continue;
    const over = isOver(row, now);
    transaction.due((over ? now : (row.window_at ?? now)) + (row.period_ms ?? 0));
    await transaction.run(STARTED, [over ? now : row.window_at, (over ? 0 : row.window_used) + started, row.seq]);
  }
  await transaction.runOf(WAITING, parked);
}

const OPENED = sized(
  (count) => `SELECT ${COLUMNS} FROM workgroup WHERE seq IN (${repeated('?', count)}) AND (waiting = 1 OR max_running IS NOT NULL)
  ORDER BY seq FOR UPDATE`,
);

/**
 * Releases jobs after runs of these workgroups ended. Locks limited workgroups even if nothing waits, since a claim may be about to park a
 * job.
 */
export async function slotsOpened(transaction: Transaction, seqs: readonly number[], now: number): Promise<void> {
  for (const row of await transaction.allOf<WorkgroupRow>(
    OPENED,
    [...new Set(seqs)].sort((a, b) => a - b),
  ))
    await release(transaction, row, now);
}

const DUE = `SELECT ${COLUMNS} FROM workgroup WHERE waiting = 1 AND (held_until IS NULL OR held_until <= ?)
  AND (rate IS NULL OR window_at IS NULL OR window_used < rate OR window_at + period_ms <= ?) ORDER BY seq LIMIT ? FOR UPDATE`;
/** Workgroups per call, and jobs per workgroup, that are released. */
const MAX_DUE = 200;
const MAX_RELEASED = 1_000;

/** Releases jobs that waited for a hold or a rate period to end. */
export async function openWorkgroups(transaction: Transaction, now: number): Promise<void> {
  for (const row of await transaction.all<WorkgroupRow>(DUE, [now, now, MAX_DUE])) await release(transaction, row, now);
}

const RELEASE = `UPDATE job SET parked = NULL WHERE seq IN (SELECT seq FROM job WHERE workgroup = ? AND parked = 'workgroup'
  ORDER BY priority DESC, seq LIMIT ? FOR UPDATE SKIP LOCKED)`;
const PARKED = `SELECT seq FROM job WHERE workgroup = ? AND parked = 'workgroup' LIMIT 1`;
const CLEAR_WAITING = 'UPDATE workgroup SET waiting = 0 WHERE seq = ?';

/** Releases as many parked jobs as there are free slots. The row must be locked. */
async function release(transaction: Transaction, row: WorkgroupRow, now: number): Promise<void> {
  if (row.waiting === 0) return;
  const slots = Math.min(MAX_RELEASED, await slotsLeft(transaction, row, now));
  if (slots === 0) return;
  if ((await transaction.run(RELEASE, [row.seq, slots])) > 0) transaction.freed();
  const [parked] = await transaction.all(PARKED, [row.seq]);
  if (parked === undefined) await transaction.run(CLEAR_WAITING, [row.seq]);
}

const NEXT = `SELECT MIN(CASE WHEN held_until > ? THEN held_until ELSE window_at + period_ms END) AS next_at FROM workgroup
  WHERE waiting = 1 AND (held_until > ? OR (rate IS NOT NULL AND window_used >= rate AND window_at + period_ms > ?))`;

/** Returns the next instant at which a hold or period that jobs wait for ends. */
export async function nextOpening(transaction: Transaction, now: number): Promise<number | undefined> {
  const [row] = await transaction.all<{ next_at: number | null }>(NEXT, [now, now, now]);
  return row?.next_at ?? undefined;
}

const LOCK = `SELECT ${COLUMNS} FROM workgroup WHERE seq = ? FOR UPDATE`;
const LIMITS = 'UPDATE workgroup SET max_running = ?, rate = ?, period_ms = ? WHERE seq = ?';
const HOLD = 'UPDATE workgroup SET held_until = ? WHERE seq = ?';

/** Creates or changes a workgroup. Throws `workgroup-invalid`. */
export async function putWorkgroup(transaction: Transaction, input: WorkgroupInput, now: number): Promise<WorkgroupRecord> {
  const limits = checkedLimits(input);
  const row = await lockOrCreate(transaction, input.id);
  const rate = limits.rate === undefined ? row.rate : limits.rate;
  const period = limits.periodMs === undefined ? row.period_ms : limits.periodMs;
  if ((rate === null) !== (period === null)) throw new PeerworkError('workgroup-invalid', 'rate and periodMs need each other');
  const values = [limits.maxRunning === undefined ? row.max_running : limits.maxRunning, rate, period];
  await transaction.run(LIMITS, [...values, row.seq]);
  return afterChange(transaction, input.id, row.seq, now);
}

/** Holds a workgroup: none of its jobs starts before `until`, or the end of an earlier hold if that is later. */
export async function holdWorkgroup(transaction: Transaction, id: string, until: number, now: number): Promise<WorkgroupRecord> {
  checkInput(() => check(integer(0, MAX_INSTANT), until, 'until'));
  const row = await lockOrCreate(transaction, id);
  await hold(transaction, row, until);
  return afterChange(transaction, id, row.seq, now);
}

export async function releaseWorkgroup(transaction: Transaction, id: string, now: number): Promise<WorkgroupRecord | undefined> {
  if ((await getWorkgroup(transaction, id)) === undefined) return undefined;
  const { seq } = await lockOrCreate(transaction, id);
  await transaction.run(HOLD, [null, seq]);
  return afterChange(transaction, id, seq, now);
}

/** Applies the holds that runs requested for their workgroups. */
export async function holdAfter(transaction: Transaction, holds: ReadonlyMap<number, number>): Promise<void> {
  for (const [seq, until] of [...holds].sort(([a], [b]) => a - b)) {
    const [row] = await transaction.all<WorkgroupRow>(LOCK, [seq]);
    if (row === undefined) continue;
    await hold(transaction, row, until);
    transaction.touched('workgroup', row.id);
  }
}

async function hold(transaction: Transaction, row: WorkgroupRow, until: number): Promise<void> {
  if (until <= (row.held_until ?? 0)) return;
  transaction.due(until);
  await transaction.run(HOLD, [until, row.seq]);
}

async function lockOrCreate(transaction: Transaction, id: string): Promise<WorkgroupRow> {
  checkInput(() => checkJobField('id', id));
  const seq = (await workgroupsNamed(transaction, [id])).get(id) ?? 0;
  const [row] = await transaction.all<WorkgroupRow>(LOCK, [seq]);
  if (row === undefined) throw new Error('a workgroup that was made is not there');
  return row;
}

/** Releases what may start under the new limits, and returns the record. */
async function afterChange(transaction: Transaction, id: string, seq: number, now: number): Promise<WorkgroupRecord> {
  const [row] = await transaction.all<WorkgroupRow>(LOCK, [seq]);
  if (row !== undefined) await release(transaction, row, now);
  transaction.touched('workgroup', id);
  const record = await getWorkgroup(transaction, id);
  if (record === undefined) throw new Error('a workgroup that was changed is not there');
  return record;
}

function checkedLimits({ maxRunning, rate, periodMs }: WorkgroupInput) {
  const limit = (value: number | null | undefined, field: string, max: number) =>
    value === null || value === undefined ? value : checkInput(() => check(integer(1, max), value, field));
  return {
    maxRunning: limit(maxRunning, 'maxRunning', 1_000_000),
    rate: limit(rate, 'rate', 1_000_000),
    periodMs: limit(periodMs, 'periodMs', MAX_DELAY_MS),
  };
}

function checkInput<T>(check: () => T): T {
  try {
    return check();
  } catch (thrown) {
    throw thrown instanceof PeerworkError ? new PeerworkError('workgroup-invalid', thrown.detail) : thrown;
  }
}
