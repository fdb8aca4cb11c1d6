/**
 * The port to a SQL engine. Statements are written once, in the intersection of SQLite and Postgres: integer milliseconds, JSON as
 * text, 0 and 1 for booleans, no arrays, no writing CTEs. They use `?` for values, `INTEGER` for 64-bit integers and
 * `FOR UPDATE [SKIP LOCKED]` where rows are locked; an engine translates each text once and caches what it prepared.
 */
export type Value = string | number | null;

export interface Statements {
  /** Runs one statement and answers its rows, also those of RETURNING. Their order is that of ORDER BY only. */
  all<Row>(sql: string, values?: readonly Value[]): Promise<Row[]>;
  /** Runs one statement without RETURNING and answers how many rows it changed. */
  run(sql: string, values?: readonly Value[]): Promise<number>;
}

export interface Driver extends Statements {
  /** Runs a script of several statements that take no values. */
  exec(script: string): Promise<void>;
  /** Begins, works, commits; rolls back and rejects if any of the three fails. Never nested, one at a time. */
  transaction<T>(work: (sql: Statements) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}
