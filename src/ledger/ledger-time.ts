import type { Clock } from '../clock.js';
import { PeerworkError } from '../errors.js';
import { restartSchedules } from './schedules.js';
import type { Transaction } from './transaction.js';

/** Updates of all instants that stand for a duration; `dated_at` marks a `run_at` that was requested as an instant. */
const SHIFTS = [
  `UPDATE job SET lease_until = lease_until + ?, started_at = started_at + ?, begun_at = begun_at + ? WHERE state = 'leased'`,
  `UPDATE job SET run_at = run_at + ? WHERE state = 'ready' AND run_at IS NOT NULL AND (dated_at IS NULL OR run_at <> dated_at)`,
  `UPDATE job SET run_at = run_at + ? WHERE state = 'blocked' AND run_at IS NOT NULL AND (dated_at IS NULL OR run_at <> dated_at)`,
  'UPDATE workgroup SET held_until = held_until + ?, window_at = window_at + ? WHERE held_until IS NOT NULL OR window_at IS NOT NULL',
];

/**
 * 2020. A clock that shows an earlier time was never set, as on a board that starts in 1970. Events dated by it are re-dated, or retention
 * would delete them at once.
 */
const UNSET_BEFORE = 1_577_836_800_000;

const EVENT_COLUMNS = ['created_at', 'started_at', 'finished_at'];

/** A larger jump means that the clock was wrong, not that time passed unseen: missed schedules are not made up for. */
const DAY_MS = 86_400_000;

/** A difference of more than this means that the ledger's clock was set; less is drift, which is followed silently. */
const JUMP_MS = 1_000;
/** Interval at which the ledger's last activity is recorded: the reference for a clock that was set while no Master was running. */
const NOTE_MS = 60_000;
/** Interval where Masters share the clock: the record also lets each Master know that the others found the clock steady. */
const SHARED_NOTE_MS = 5_000;
/** Slightly more than twice SHARED_NOTE_MS. */
const SHARED_RECENT_MS = 12_000;

const NAME = 'time';
const READ = `SELECT value FROM note WHERE name = '${NAME}'`;
/** Only used on Postgres. */
const SHARE = `${READ} FOR SHARE`;
const LOCK = `${READ} FOR UPDATE`;
const WRITE = `INSERT INTO note (name, value) VALUES ('${NAME}', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`;

/** The content of the row: the sum of all shifts of the ledger's instants, the time of the last check, and the ledger's owner. */
interface Noted {
  readonly shiftedMs: number;
  readonly at: number;
  readonly owner: string;
}

/**
 * The time of a ledger: the clock of its machine, or of its database, which all its Masters share. Callers pass their own steady time; this
 * class knows the offset between the two.
 *
 * When the clock is set, instants that stand for durations (ends of leases, delays, back-offs and holds, rate windows, starts of runs) are
 * shifted by the same amount in one transaction, so that nobody loses or gains time. True instants (`runAt`, schedules) stay: they refer to
 * the clock. When several Masters see the clock jump, the first one shifts; the others read the amount from the row of `note` and find that
 * nothing is left to do. A Master whose own time stood still (a paused virtual machine) finds that the others saw no jump, and follows the
 * clock.
 */
export class LedgerTime {
  readonly #clock: Pick<Clock, 'now' | 'wall'> | undefined;
  /** A statement that reads the database's clock; undefined: the ledger uses the machine's clock. */
  readonly #readClock: string | undefined;
  readonly #owner: string;
  #offsetMs = 0;
  #shiftedMs = 0;
  #written: string | undefined;

  /** Without a clock, the callers' time is the ledger's time. */
  constructor(clock: Pick<Clock, 'now' | 'wall'> | undefined, readClock: string | undefined, owner = '-') {
    this.#owner = owner;
    this.#clock = clock;
    this.#readClock = readClock;
    if (clock !== undefined) this.#offsetMs = clock.wall() - clock.now();
  }

  /** Offset to add to a caller's time, in ms. */
  get offsetMs(): number {
    return this.#offsetMs;
  }

  at(now: number): number {
    return now + this.#offsetMs;
  }

  /** Converts an instant of the ledger to the callers' time. */
  toCallerTime(at: number): number {
    return at - this.#offsetMs;
  }

  /**
   * Checks the clock and shifts what must be shifted, within one transaction; the rest of that transaction uses the new time. Call `adopt`
   * with the result once the transaction is committed.
   */
  async check(transaction: Transaction, opening = false): Promise<ClockCheck | undefined> {
    const clock = this.#clock;
    if (clock === undefined) return undefined;
    const shared = this.#readClock !== undefined;
    let noted = await read(transaction, READ);
    let seen = await this.#seen(transaction, clock);
    if (!opening && this.#isQuiet(noted, seen)) {
      // The shared lock keeps other Masters from shifting anything while this transaction, which uses the current time, is in flight.
      const kept = shared ? await read(transaction, SHARE) : noted;
      if (kept?.shiftedMs === this.#shiftedMs) return this.#result(transaction, seen, this.#shiftedMs);
    }

    // From here on this transaction holds the row exclusively.
    noted = await read(transaction, LOCK);
    seen = await this.#seen(transaction, clock);
    const shiftedMs = noted?.shiftedMs ?? 0;
    if (opening && shared) this.#checkOwner(noted, seen.wall);
    let remainingMs: number;
    if (opening) remainingMs = noted === undefined ? 0 : Math.min(0, seen.wall - noted.at);
    else if (shared && this.#othersFoundSteady(noted, seen.wall)) remainingMs = 0;
    else remainingMs = seen.jumpMs - (shiftedMs - this.#shiftedMs);
    const byMs = Math.abs(remainingMs) > JUMP_MS ? remainingMs : 0;
    if (byMs !== 0) await shiftInstants(transaction, byMs, seen.wall);
    const text = this.#text(shiftedMs + byMs, seen.wall);
    await transaction.run(WRITE, [text]);
    return this.#result(transaction, seen, shiftedMs + byMs, text);
  }

  /** Masters with different keys would lease the same jobs to Workers of two swarms, with tasks that the other's Workers do not trust. */
  #checkOwner(noted: Noted | undefined, wall: number): void {
    if (noted === undefined || noted.owner === '-' || this.#owner === '-' || noted.owner === this.#owner) return;
    if (Math.abs(wall - noted.at) < SHARED_RECENT_MS) throw new PeerworkError('ledger-key', noted.owner.slice(0, 12));
  }

  #text(shiftedMs: number, at: number): string {
    return `${shiftedMs} ${at} ${this.#owner}`;
  }

  #isQuiet(noted: Noted | undefined, { wall, jumpMs }: Seen): boolean {
    if (noted === undefined || noted.shiftedMs !== this.#shiftedMs || Math.abs(jumpMs) > JUMP_MS) return false;
    return Math.abs(wall - noted.at) < (this.#readClock === undefined ? NOTE_MS : SHARED_NOTE_MS);
  }

  /** Called before the ledger is closed, so that the next opener knows when it was last active. */
  async note(transaction: Transaction): Promise<void> {
    const clock = this.#clock;
    if (clock === undefined) return;
    const noted = await read(transaction, LOCK);
    const { wall } = await this.#seen(transaction, clock);
    if (noted !== undefined) await transaction.run(WRITE, [this.#text(noted.shiftedMs, wall)]);
  }

  adopt(checked: ClockCheck | undefined): void {
    if (checked === undefined) return;
    this.#offsetMs = checked.offsetMs;
    this.#shiftedMs = checked.shiftedMs;
    if (checked.written !== undefined) this.#written = checked.written;
  }

  #result(transaction: Transaction, { offsetMs }: Seen, shiftedMs: number, written?: string): ClockCheck {
    const moved = this.#readClock !== undefined && shiftedMs !== this.#shiftedMs;
    transaction.offsetMs = offsetMs;
    return { offsetMs, shiftedMs, moved, written };
  }

  #othersFoundSteady(noted: Noted | undefined, wall: number): boolean {
    if (noted === undefined || `${noted.shiftedMs} ${noted.at} ${noted.owner}` === this.#written || noted.shiftedMs !== this.#shiftedMs)
      return false;
    const sinceMs = wall - noted.at;
    return sinceMs > -JUMP_MS && sinceMs < SHARED_RECENT_MS;
  }

  async #seen(transaction: Transaction, clock: Pick<Clock, 'now' | 'wall'>): Promise<Seen> {
    const before = clock.now();
    if (this.#readClock === undefined) return this.#offsetWithin(clock.wall(), before, before);
    const [row] = await transaction.all<{ now: number }>(this.#readClock);
    return this.#offsetWithin(row?.now ?? 0, before, clock.now());
  }

  /**
   * The clock was read between `before` and `after`, so any offset in that range may be right, however long the read took: keep ours if it
   * is in the range.
   */
  #offsetWithin(wall: number, before: number, after: number): Seen {
    const [low, high] = [wall - after, wall - before];
    const offsetMs = Math.min(Math.max(this.#offsetMs, low), high);
    return { wall, offsetMs, jumpMs: offsetMs - this.#offsetMs };
  }
}

interface Seen {
  readonly wall: number;
  readonly offsetMs: number;
  readonly jumpMs: number;
}

export interface ClockCheck {
  readonly offsetMs: number;
  readonly shiftedMs: number;
  /** Whether instants were shifted; other Masters may not know yet. */
  readonly moved: boolean;
  readonly written: string | undefined;
}

async function read(transaction: Transaction, sql: string): Promise<Noted | undefined> {
  const [row] = await transaction.all<{ value: string }>(sql);
  const [, shifted, at, owner = '-'] = /^(-?\d{1,16}) (-?\d{1,16}) (\S{1,100})$/.exec(row?.value ?? '') ?? [];
  return at === undefined ? undefined : { shiftedMs: Number(shifted), at: Number(at), owner };
}

/** Shifts instants after the ledger's clock was set by `byMs` to `now`, so that remaining durations stay the same. */
async function shiftInstants(transaction: Transaction, byMs: number, now: number): Promise<void> {
  for (const sql of SHIFTS) await transaction.run(sql, Array<number>(sql.split('?').length - 1).fill(byMs));
  if (byMs > 0 && now - byMs < UNSET_BEFORE && now >= UNSET_BEFORE)
    for (const column of EVENT_COLUMNS)
      await transaction.run(`UPDATE job SET ${column} = ${column} + ? WHERE ${column} < ?`, [byMs, UNSET_BEFORE]);
  if (byMs < 0 || byMs > DAY_MS) await restartSchedules(transaction, now, DAY_MS);
  transaction.due(now);
}
