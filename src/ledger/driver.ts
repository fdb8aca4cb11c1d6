import { PeerworkError } from '../errors.js';
import { shown } from '../kit/shown.js';
import type { LedgerChange } from './ledger-change.js';

/**
 * The port to a SQL engine. Statements are written once, in the intersection of SQLite and Postgres: integer milliseconds, JSON as
 * text, 0 and 1 for booleans, no arrays, no writing CTEs. They use `?` for values, `INTEGER` for 64-bit integers and
 * `FOR UPDATE [SKIP LOCKED]` where rows are locked; an engine translates each text once and caches what it prepared.
 */
export type Value = string | number | null;

export interface Statements {
  /** Runs one statement and returns its rows, also those of RETURNING. Their order is that of ORDER BY only. */
  all<Row>(sql: string, values?: readonly Value[]): Promise<Row[]>;
  /** Runs one statement without RETURNING and returns how many rows it changed. */
  run(sql: string, values?: readonly Value[]): Promise<number>;
  /** Where transactions run side by side: numbers that they need not wait for each other to draw. Absent: the rows of `counter`. */
  readonly numbers?: Numbers | undefined;
}

/** What the rows of `counter` are where there is one writer. */
export interface Numbers {
  /** Draws `count` consecutive numbers and returns the first; undefined: this counter is drawn from its row. */
  draw(counter: string, count: number): Promise<number> | undefined;
  /** No other transaction that is still under way has drawn a settlement number up to this one. */
  settledHorizon(): Promise<number>;
}

export interface Driver extends Statements {
  /** Runs a script of several statements that take no values. */
  exec(script: string): Promise<void>;
  /**
   * Begins, works, commits; rolls back and rejects if any of the three fails. Never nested, one at a time. With `Conflict` nothing was
   * committed, and the same work may succeed when it is run again.
   */
  transaction<T>(work: (sql: Statements) => Promise<T>): Promise<T>;
  /** A transaction that no other opener of the ledger migrates or fills beside, however long it takes. Absent: any transaction is that. */
  exclusively?<T>(work: (sql: Statements) => Promise<T>): Promise<T>;
  /** A statement that reads the clock that all openers go by, in milliseconds as `now`. Absent: the machine's is. */
  readonly readClock?: string;
  /** The name of the collation that orders texts by their bytes. Absent: there is no other. */
  readonly byteOrder?: string;
  /** Notifies the other Masters on this ledger of what a commit changed, soon and without a guarantee. Absent: there can be none. */
  announce?(change: LedgerChange): void;
  /** Calls `listener` with their announcements; also `cut`, `ready` and `settled` all true after something may have been missed. */
  onAnnounced?(listener: (change: LedgerChange) => void): void;
  close(): Promise<void>;
}

/** The transaction met another one, or lost its connection before its end: it left nothing behind and may be run again. */
export class Conflict extends Error {
  override readonly name = 'Conflict';
}

/**
 * What both engines can store. Throws `value-unstorable` for a text with NUL, which one engine cuts off and the other refuses, and a TypeError for
 * what is neither text nor number nor null: that is a fault of ours.
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
