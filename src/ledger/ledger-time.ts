import type { Clock } from '../clock.js';
import { PeerworkError } from '../errors.js';
import { startSchedulesAnew } from './schedules.js';
import type { Transaction } from './transaction.js';

/** What is stored for a duration; `dated_at` marks an instant that was asked for. */
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

/** A ledger's clock that is off by more than this was set; less is drift, and followed without a word. */
const JUMP_MS = 1_000;
/** How often it is written down when the ledger was last seen at work: that is what a clock is held against which was set while nobody was there. */
const NOTE_MS = 60_000;
/** Where Masters share the clock, its time must also tell them that the others found it steady. */
const SHARED_NOTE_MS = 5_000;
/** Twice that, and a little. */
const SHARED_RECENT_MS = 12_000;

const NAME = 'time';
const READ = `SELECT value FROM note WHERE name = '${NAME}'`;
/** For Postgres alone. */
const SHARE = `${READ} FOR SHARE`;
const LOCK = `${READ} FOR UPDATE`;
const WRITE = `INSERT INTO note (name, value) VALUES ('${NAME}', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`;

/** The row: by how much all shifts together have moved the instants of the ledger, the latest time at which somebody looked, and whose ledger it was. */
interface Noted {
  readonly shiftedMs: number;
  readonly at: number;
  readonly owner: string;
}

/**
 * The time of a ledger: that of the clock of its machine, or of its database, which all its Masters share. Whoever calls gives its own steady
 * time; here it is known how far that is from the ledger's.
 *
 * When the clock is set, what the ledger stores for a duration (the ends of leases, delays, back-offs and holds, windows of rates, when runs
 * began) is shifted by as much in one transaction, and nobody loses or gains time. What is an instant (`runAt`, schedules) stays: it means the
 * clock. Several Masters see the same clock jump: the first shifts, the others read from the row of `note` by how much, and what is left for
 * them to do is nothing. One whose own time stood still (a virtual machine that was paused) finds that the others did not see a jump, and
 * goes by the clock.
 */
export class LedgerTime {
  readonly #clock: Pick<Clock, 'now' | 'wall'> | undefined;
  /** A statement that reads the clock of the database; undefined: the machine's clock is the ledger's. */
  readonly #readClock: string | undefined;
  readonly #owner: string;
  #offsetMs = 0;
  #shiftedMs = 0;
  #written: string | undefined;

  /** Without a clock the time that callers give is the ledger's. */
  constructor(clock: Pick<Clock, 'now' | 'wall'> | undefined, readClock: string | undefined, owner = '-') {
    this.#owner = owner;
    this.#clock = clock;
    this.#readClock = readClock;
    if (clock !== undefined) this.#offsetMs = clock.wall() - clock.now();
  }

  /** What is added to a caller's time. */
  get offsetMs(): number {
    return this.#offsetMs;
  }

  at(now: number): number {
    return now + this.#offsetMs;
  }

  /** An instant of the ledger in the time of the callers. */
  back(at: number): number {
    return at - this.#offsetMs;
  }

  /**
   * Looks at the clock, and shifts what must be shifted; within one transaction, of which the rest goes by the new time. Call `adopt` with the
   * answer once that is committed.
   */
  async look(transaction: Transaction, opening = false): Promise<Look | undefined> {
    const clock = this.#clock;
    if (clock === undefined) return undefined;
    const shared = this.#readClock !== undefined;
    let noted = await read(transaction, READ);
    let seen = await this.#seen(transaction, clock);
    if (!opening && this.#isQuiet(noted, seen)) {
      // No other Master shifts anything while this transaction, which goes by the time of before, is under way.
      const kept = shared ? await read(transaction, SHARE) : noted;
      if (kept?.shiftedMs === this.#shiftedMs) return this.#looked(transaction, seen, this.#shiftedMs, 0);
    }

    // Alone with the row from here on.
    noted = await read(transaction, LOCK);
    seen = await this.#seen(transaction, clock);
    const shiftedMs = noted?.shiftedMs ?? 0;
    if (opening && shared) this.#mayOpen(noted, seen.wall);
    let leftMs: number;
    if (opening) leftMs = noted === undefined ? 0 : Math.min(0, seen.wall - noted.at);
    else if (shared && this.#othersFoundItSteady(noted, seen.wall)) leftMs = 0;
    else leftMs = seen.jumpMs - (shiftedMs - this.#shiftedMs);
    const byMs = Math.abs(leftMs) > JUMP_MS ? leftMs : 0;
    if (byMs !== 0) await shiftInstants(transaction, byMs, seen.wall);
    const text = this.#text(shiftedMs + byMs, seen.wall);
    await transaction.run(WRITE, [text]);
    return this.#looked(transaction, seen, shiftedMs + byMs, byMs, text);
  }

  /** Masters of two keys would hand out the same jobs to Workers of two swarms, in tasks that the other's do not trust. */
  #mayOpen(noted: Noted | undefined, wall: number): void {
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

  /** Before the ledger is closed: the next opener knows until when it was at work. */
  async note(transaction: Transaction): Promise<void> {
    const clock = this.#clock;
    if (clock === undefined) return;
    const noted = await read(transaction, LOCK);
    const { wall } = await this.#seen(transaction, clock);
    if (noted !== undefined) await transaction.run(WRITE, [this.#text(noted.shiftedMs, wall)]);
  }

  adopt(look: Look | undefined): void {
    if (look === undefined) return;
    this.#offsetMs = look.offsetMs;
    this.#shiftedMs = look.shiftedMs;
    if (look.written !== undefined) this.#written = look.written;
  }

  #looked(transaction: Transaction, { offsetMs }: Seen, shiftedMs: number, byMs: number, written?: string): Look {
    const moved = this.#readClock !== undefined && shiftedMs !== this.#shiftedMs;
    transaction.offsetMs = offsetMs;
    return { offsetMs, shiftedMs, byMs, moved, written };
  }

  #othersFoundItSteady(noted: Noted | undefined, wall: number): boolean {
    if (noted === undefined || `${noted.shiftedMs} ${noted.at} ${noted.owner}` === this.#written || noted.shiftedMs !== this.#shiftedMs)
      return false;
    const sinceMs = wall - noted.at;
    return sinceMs > -JUMP_MS && sinceMs < SHARED_RECENT_MS;
  }

  async #seen(transaction: Transaction, clock: Pick<Clock, 'now' | 'wall'>): Promise<Seen> {
    const before = clock.now();
    if (this.#readClock === undefined) return this.#against(clock.wall(), before, before);
    const [row] = await transaction.all<{ now: number }>(this.#readClock);
    return this.#against(row?.now ?? 0, before, clock.now());
  }

  /** The clock was read between these two instants of ours: what we thought that it shows may be right within that, however long it took. */
  #against(wall: number, before: number, after: number): Seen {
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

export interface Look {
  readonly offsetMs: number;
  readonly shiftedMs: number;
  /** By how much this look has shifted the instants of the ledger. */
  readonly byMs: number;
  /** They were shifted, and other Masters may not know yet. */
  readonly moved: boolean;
  readonly written: string | undefined;
}

async function read(transaction: Transaction, sql: string): Promise<Noted | undefined> {
  const [row] = await transaction.all<{ value: string }>(sql);
  const [, shifted, at, owner = '-'] = /^(-?\d{1,16}) (-?\d{1,16}) (\S{1,100})$/.exec(row?.value ?? '') ?? [];
  return at === undefined ? undefined : { shiftedMs: Number(shifted), at: Number(at), owner };
}

/** The clock of the ledger was set, by `byMs`, to `now`: what is left of durations stays what it was. */
async function shiftInstants(transaction: Transaction, byMs: number, now: number): Promise<void> {
  for (const sql of SHIFTS) await transaction.run(sql, Array<number>(sql.split('?').length - 1).fill(byMs));
  if (byMs > 0 && now - byMs < UNSET_BEFORE && now >= UNSET_BEFORE)
    for (const column of DATES) await transaction.run(`UPDATE job SET ${column} = ${column} + ? WHERE ${column} < ?`, [byMs, UNSET_BEFORE]);
  if (byMs < 0 || byMs > DAY_MS) await startSchedulesAnew(transaction, now, DAY_MS);
  transaction.due(now);
}
