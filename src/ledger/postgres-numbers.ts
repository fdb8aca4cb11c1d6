import type { Numbers, Statements } from './driver.js';

/** Numbers per step of a sequence: the largest list that is drawn in one step. */
const BLOCK = 1_024;
/** Number of distinct lock ids for blocks; far more than are ever in flight. */
const LOCKS = 2 ** 31;

const COUNTERS = ['job', 'settled', 'history'] as const;

const DRAW = (counter: string) => `SELECT nextval('counter_${counter}') AS value FROM generate_series(1, ?)`;
const DRAW_SETTLED = `WITH held AS MATERIALIZED (
  SELECT pg_advisory_xact_lock_shared(?, CAST((last_value / ${BLOCK}) % ${LOCKS} AS INT)) FROM counter_settled)
  SELECT nextval('counter_settled') AS value FROM held, generate_series(1, ?)`;
const DRAWN = (counter: string) => `SELECT last_value AS value FROM counter_${counter}`;
const HELD = `SELECT CAST(objid AS BIGINT) AS block FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND classid = ?
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()`;

/**
 * With counter rows, Masters on one Postgres would wait for each other's commits. So the busy counters are sequences, each step of which is
 * a block of 1,024 numbers: a `last_value` of L means that all numbers up to L have been drawn.
 *
 * Sequences do not determine who commits first, but a reader of settlements must never skip one that commits later. So a transaction takes
 * a shared advisory lock naming the L it has seen before its first draw: its numbers are above that L. Nobody waits for such a lock. A
 * reader reads L, then the locks that others hold, and then reads no further than the lowest of all these. A transaction that drew up to L
 * and no longer holds a lock has committed and is visible, because locks are released after the commit, or when the connection ends.
 */
export class PostgresNumbers implements Numbers {
  readonly #sql: Statements;
  readonly #lockClass: number;
  #holdsLock = false;

  /** Serves one transaction. `lockClass` is specific to the ledger. */
  constructor(sql: Statements, lockClass: number) {
    this.#sql = sql;
    this.#lockClass = lockClass;
  }

  draw(counter: string, count: number): Promise<number> | undefined {
    return isSequence(counter) ? this.#draw(counter, Math.max(1, Math.ceil(count / BLOCK))) : undefined;
  }

  drawn(counter: string): Promise<number> | undefined {
    return isSequence(counter) ? this.#drawn(counter) : undefined;
  }

  async settledHorizon(): Promise<number> {
    const last = await this.#drawn('settled');
    const held = await this.#sql.all<{ block: number }>(HELD, [this.#lockClass]);
    let behind = 0;
    for (const { block } of held) {
      const distance = (((last / BLOCK) % LOCKS) - block + LOCKS) % LOCKS;
      // Otherwise the lock's holder saw a later number than this reader did.
      if (distance < LOCKS / 2) behind = Math.max(behind, distance);
    }
    return last - behind * BLOCK;
  }

  async #drawn(counter: string): Promise<number> {
    const [drawn] = await this.#sql.all<{ value: number }>(DRAWN(counter));
    return drawn?.value ?? 0;
  }

  async #draw(counter: string, steps: number): Promise<number> {
    for (;;) {
      const locks = counter === 'settled' && !this.#holdsLock;
      const rows = locks
        ? await this.#sql.all<{ value: number }>(DRAW_SETTLED, [this.#lockClass, steps])
        : await this.#sql.all<{ value: number }>(DRAW(counter), [steps]);
      if (locks) this.#holdsLock = true;
      const values = rows.map((row) => row.value);
      const first = Math.min(...values);
      // Another transaction drew in between: the numbers must be consecutive, so draw again.
      if (Math.max(...values) - first === (steps - 1) * BLOCK) return first - BLOCK + 1;
    }
  }
}

function isSequence(counter: string): boolean {
  return COUNTERS.some((name) => name === counter);
}

/** Creates the sequences and moves them past what the rows of `counter` say was drawn, as after an import. */
export async function prepareNumbers(sql: Statements): Promise<void> {
  for (const counter of COUNTERS) {
    await sql.run(`CREATE SEQUENCE IF NOT EXISTS counter_${counter} AS BIGINT INCREMENT BY ${BLOCK} MINVALUE 0 START WITH 0`);
    const [row] = await sql.all<{ value: number }>('SELECT value FROM counter WHERE name = ?', [counter]);
    const [drawn] = await sql.all<{ value: number; called: boolean }>(
      `SELECT last_value AS value, is_called AS called FROM counter_${counter}`,
    );
    const value = row?.value ?? 0;
    if (drawn?.called === true && drawn.value >= value) continue;
    await sql.all(`SELECT setval('counter_${counter}', ?)`, [Math.ceil(value / BLOCK) * BLOCK]);
  }
}
