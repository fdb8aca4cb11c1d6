import { startSchedulesAnew } from './schedules.js';
import type { Transaction } from './transaction.js';

/** What is stored for a duration; `dated_at` tells an instant that was asked for. */
const SHIFTS = [
  `UPDATE job SET lease_until = lease_until + ?, started_at = started_at + ?, begun_at = begun_at + ? WHERE state = 'leased'`,
  `UPDATE job SET run_at = run_at + ? WHERE state = 'ready' AND run_at IS NOT NULL AND (dated_at IS NULL OR run_at <> dated_at)`,
  `UPDATE job SET run_at = run_at + ? WHERE state = 'blocked' AND run_at IS NOT NULL AND (dated_at IS NULL OR run_at <> dated_at)`,
  'UPDATE workgroup SET held_until = held_until + ?, window_at = window_at + ? WHERE held_until IS NOT NULL OR window_at IS NOT NULL',
];

/** 2020: a clock that shows less was never set, as on a board that starts in 1970. What happened under it is dated anew, or retention would end it at once. */
const UNSET_BEFORE = 1_577_836_800_000;
const DATES = ['created_at', 'started_at', 'finished_at'];

/** A jump by more is a clock that was wrong, not time that passed unseen: nothing is made up for. */
const DAY_MS = 86_400_000;

/** The clock of the ledger was set, by `byMs`, to `now`: what is left of durations stays what it was. */
export async function shiftInstants(transaction: Transaction, byMs: number, now: number): Promise<void> {
  for (const sql of SHIFTS) await transaction.run(sql, Array<number>(sql.split('?').length - 1).fill(byMs));
  if (byMs > 0 && now - byMs < UNSET_BEFORE && now >= UNSET_BEFORE)
    for (const column of DATES) await transaction.run(`UPDATE job SET ${column} = ${column} + ? WHERE ${column} < ?`, [byMs, UNSET_BEFORE]);
  if (byMs < 0 || byMs > DAY_MS) await startSchedulesAnew(transaction, now, DAY_MS);
  transaction.due(now);
}
