import { PeerworkError } from '../errors.js';
import { shown } from '../kit/shown.js';
import type { LedgerChange } from './ledger-change.js';

/**
 * The port to a SQL engine. Statements are written once, in the intersection of SQLite and Postgres: integer milliseconds, JSON as text, 0
 * and 1 for booleans, no arrays, no writing CTEs. They use `?` for values, `INTEGER` for 64-bit integers and `FOR UPDATE [SKIP LOCKED]`
 * where rows are locked. An engine translates each statement once and caches the prepared form.
 */

/** A value that is bound to a statement or read from a row. */
export type Value = string | number | null;

export interface Statements {
  /** Runs one statement and returns its rows, including those of RETURNING. Rows are ordered only if the statement has ORDER BY. */
  all<Row>(sql: string, values?: readonly Value[]): Promise<Row[]>;
  /** Runs one statement without RETURNING and returns the number of rows it changed. */
  run(sql: string, values?: readonly Value[]): Promise<number>;
  /**
   * Counters for engines whose transactions run concurrently, so that they need not wait for each other to draw numbers. Absent: the rows
   * of `counter` are used.
   */
  readonly numbers?: Numbers | undefined;
}

/** Replaces the rows of `counter`, which suffice where there is a single writer. */
export interface Numbers {
  /** Draws `count` consecutive numbers and returns the first; undefined if this counter is drawn from its row. */
  draw(counter: string, count: number): Promise<number> | undefined;
  /** Returns the last number that may have been drawn; undefined if this counter is drawn from its row. */
  drawn(counter: string): Promise<number> | undefined;
  /** Returns a settlement number such that no transaction in flight has drawn one up to and including it. */
  settledHorizon(): Promise<number>;
}

export interface Driver extends Statements {
  /** Runs a script of several statements that take no values. */
  exec(script: string): Promise<void>;
  /**
   * Begins, runs `work` and commits; rolls back and rejects if any of the three fails. Never nested, one at a time. A `Conflict` means that
   * nothing was committed and that the same work may succeed when it is run again.
   */
  transaction<T>(work: (sql: Statements) => Promise<T>): Promise<T>;
  /**
   * A transaction that excludes migration and import by all other openers of the ledger, however long it takes. Absent: any transaction is
   * exclusive.
   */
  exclusively?<T>(work: (sql: Statements) => Promise<T>): Promise<T>;
  /** A statement that reads the clock shared by all openers; its result column is `now`, in ms. Absent: the machine's clock. */
  readonly readClock?: string;
  /** The collation that orders texts by bytes. Absent: the engine has no other. */
  readonly byteOrder?: string;
  /**
   * Notifies the other Masters on this ledger of what a commit changed, soon and on a best-effort basis. Absent: there can be no others.
   */
  announce?(change: LedgerChange): void;
  /**
   * Calls `listener` with the announcements of other Masters, and with `cut`, `ready` and `settled` all true whenever some may have been
   * missed.
   */
  onAnnounced?(listener: (change: LedgerChange) => void): void;
  close(): Promise<void>;
}

/** The transaction conflicted with another one, or lost its connection before it ended. It left nothing behind and may be run again. */
export class Conflict extends Error {
  override readonly name = 'Conflict';
}

/**
 * Checks that both engines can store the values. Throws `value-unstorable` for a text with NUL, which one engine truncates and the other
 * rejects, and a TypeError for anything that is not text, a finite number or null: that is a bug of ours.
 */
export function checkedValues(values: readonly Value[]): readonly Value[] {
  for (const value of values) {
    if (typeof value === 'string') {
      if (value.includes('\0')) throw new PeerworkError('value-unstorable', `a NUL character in ${shown(value)}`);
    } else if (typeof value === 'number' ? !Number.isFinite(value) : value !== null)
      throw new TypeError(`A ${typeof value} of this kind cannot be stored`);
  }
  return values;
}
