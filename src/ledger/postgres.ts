import { createHash } from 'node:crypto';
import type pg from 'pg';
import type { Clock } from '../clock.js';
import { type ErrorCode, PeerworkError } from '../errors.js';
import { fileError, isTlsError, systemCode } from '../kit/system-error.js';
import { conceal } from '../log.js';
import { Conflict, checkedValues, type Driver, type Statements, type Value } from './driver.js';
import type { LedgerChange } from './ledger-change.js';
import { away, codeOf, LOCAL_SETTINGS, OnlyReads, PostgresConnection, postgres, reasonOf } from './postgres-connection.js';
import { PostgresNumbers, prepareNumbers } from './postgres-numbers.js';
import { PostgresWake } from './postgres-wake.js';

/**
 * Why a ledger on Postgres cannot be opened: a server's or system's error code, or the message of a driver error without one, and our code
 * for it.
 */
const CAUSES: readonly (readonly [RegExp, ErrorCode])[] = [
  [/^28|^SASL/, 'ledger-login'],
  [/^3D000/, 'ledger-database-missing'],
  [/^3F000/, 'ledger-schema-missing'],
  [/^42501/, 'ledger-rights'],
  [/^53300/, 'ledger-connections'],
  [/^53100/, 'disk-full'],
  [/^25006/, 'ledger-read-only'],
  [/^(ENOTFOUND|EAI_)/, 'host-unknown'],
  [/does not support SSL|SSL connection/i, 'ledger-tls'],
  [/^(08|53|57|E[A-Z]+$)|timeout|terminated|ended|closed/i, 'ledger-unreachable'],
];

/** Second half of the migration's advisory lock; settlements use the non-negative block numbers. */
const MIGRATION_LOCK = -1;
/** The longest delay of a timer: 24 days. */
const NO_LIMIT_MS = 2 ** 31 - 1;

export interface PostgresOptions {
  readonly clock?: Clock;
  /** The database's own address for LISTEN, if the main URL is a pooler's. */
  readonly listenUrl?: string;
}

interface Prepared {
  readonly name: string;
  readonly text: string;
}

/**
 * Postgres through `pg`: one connection for transactions, which run one at a time, and one for notifications between Masters. BEGIN is sent
 * together with the first statement (pipelining). A transaction that lost a conflict, or its connection before COMMIT was sent, rejects
 * with `Conflict`: running it again is safe. After a COMMIT without a response the outcome is unknown: `ledger-away`.
 */
export class PostgresDriver implements Driver {
  readonly readClock = 'SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) AS now';
  readonly byteOrder = '"C"';
  readonly #place: string;
  readonly #work: PostgresConnection;
  readonly #wake: PostgresWake;
  readonly #prepared = new Map<string, Prepared>();
  #lockClass = 0;
  #unlimited = false;

  private constructor(url: string, { clock, listenUrl = url }: PostgresOptions) {
    this.#place = placeOf(url);
    const options = { url, place: this.#place, ...(clock !== undefined && { clock }) };
    this.#work = new PostgresConnection({ ...options, name: 'peerwork' });
    this.#wake = new PostgresWake({ ...options, url: listenUrl, place: placeOf(listenUrl), name: 'peerwork wake' });
  }

  /** Connects. Rejects with the specific cause, such as `ledger-unreachable` or `ledger-login`; `ledger-away` only occurs later. */
  static async open(url: string, options: PostgresOptions = {}): Promise<PostgresDriver> {
    const driver = new PostgresDriver(url, options);
    let place = driver.#place;
    try {
      const client = await driver.#work.ready();
      const { rows } = await client.query<{ name: string | null }>('SELECT current_schema() AS name');
      const schema = rows[0]?.name;
      if (typeof schema !== 'string') throw new PeerworkError('ledger-schema-missing', place);
      driver.#lockClass = createHash('sha256').update(`peerwork ${schema}`).digest().readUInt32BE() >>> 1;
      place = placeOf(options.listenUrl ?? url);
      await driver.#wake.open(`peerwork ${schema}`.slice(0, 60));
      return driver;
    } catch (thrown) {
      await driver.close();
      throw openingError(place, thrown);
    }
  }

  async all<Row>(sql: string, values: readonly Value[] = []): Promise<Row[]> {
    return this.#withClient(async (client) => (await this.#query(client, sql, values)).rows as Row[]);
  }

  async run(sql: string, values: readonly Value[] = []): Promise<number> {
    return this.#withClient(async (client) => (await this.#query(client, sql, values)).rowCount ?? 0);
  }

  async exec(script: string): Promise<void> {
    await this.#withClient((client) => client.query({ text: translate(script), ...this.#limit() }));
  }

  async transaction<T>(work: (sql: Statements) => Promise<T>): Promise<T> {
    return this.#transaction('BEGIN', work);
  }

  async exclusively<T>(work: (sql: Statements) => Promise<T>): Promise<T> {
    this.#unlimited = true;
    const begin = 'BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0';
    try {
      return await this.#transaction(begin, async (sql) => {
        await sql.all('SELECT pg_advisory_xact_lock(?, ?)', [this.#lockClass, MIGRATION_LOCK]);
        const result = await work(sql);
        await prepareNumbers(sql);
        return result;
      });
    } finally {
      this.#unlimited = false;
    }
  }

  announce(change: LedgerChange): void {
    this.#wake.announce(change);
  }

  onAnnounced(listener: (change: LedgerChange) => void): void {
    this.#wake.onAnnounced(listener);
  }

  async close(): Promise<void> {
    await this.#wake.close();
    await this.#work.close();
  }

  async #transaction<T>(begin: string, work: (sql: Statements) => Promise<T>): Promise<T> {
    const client = await this.#ready();
    let committing = false;
    try {
      const begun = client.query(this.#work.pooled ? begin.replace('BEGIN', `BEGIN; ${LOCAL_SETTINGS}`) : begin);
      begun.catch(() => {});
      const result = await work(this.#statements(client));
      await begun;
      committing = true;
      const { command } = await client.query('COMMIT');
      if (command !== 'COMMIT') throw new Error('a statement of the transaction had failed: it was rolled back');
      return result;
    } catch (thrown) {
      if (this.#isLost(client, thrown)) throw committing ? away(this.#place, thrown) : new Conflict(reasonOf(thrown), { cause: thrown });
      if (!committing) await client.query('ROLLBACK').catch(() => this.#work.lost(client));
      throw toPeerworkError(this.#place, thrown);
    }
  }

  #statements(client: pg.Client): Statements {
    const sql: { -readonly [K in keyof Statements]: Statements[K] } = {
      all: async <Row>(text: string, values: readonly Value[] = []) => (await this.#query(client, text, values)).rows as Row[],
      run: async (text, values = []) => (await this.#query(client, text, values)).rowCount ?? 0,
    };
    return { ...sql, numbers: new PostgresNumbers(sql, this.#lockClass) };
  }

  async #ready(): Promise<pg.Client> {
    try {
      return await this.#work.ready();
    } catch (thrown) {
      throw away(this.#place, thrown);
    }
  }

  async #withClient<T>(action: (client: pg.Client) => Promise<T>): Promise<T> {
    const client = await this.#ready();
    try {
      return await action(client);
    } catch (thrown) {
      if (this.#isLost(client, thrown)) throw away(this.#place, thrown);
      throw toPeerworkError(this.#place, thrown);
    }
  }

  #query(client: pg.Client, sql: string, values: readonly Value[]): Promise<pg.QueryResult> {
    const { name, text } = this.#prepare(sql);
    // Behind a pooler the next transaction may run in another session, where this name is unknown or means another statement.
    return client.query({ ...(!this.#work.pooled && { name }), text, ...this.#limit(), values: checkedValues(values) as Value[] });
  }

  #limit(): { readonly query_timeout?: number } {
    return this.#unlimited ? { query_timeout: NO_LIMIT_MS } : {};
  }

  #prepare(sql: string): Prepared {
    let prepared = this.#prepared.get(sql);
    if (prepared === undefined) {
      prepared = { name: `p${this.#prepared.size}`, text: translate(sql) };
      this.#prepared.set(sql, prepared);
    }
    return prepared;
  }

  /**
   * Returns whether the connection failed, in which case it is dropped. Errors of the server about a statement have a code of five
   * characters.
   */
  #isLost(client: pg.Client, thrown: unknown): boolean {
    if (thrown instanceof TypeError || thrown instanceof PeerworkError || thrown instanceof Conflict) return false;
    const code = codeOf(thrown);
    // An unknown prepared statement, one whose columns another Master has migrated, or a read-only server: the connection is not what it
    // seemed.
    const lost =
      this.#work.current !== client ||
      /^(08|57P|25P03|26000|25006|0A000)/.test(code) ||
      /^(E[A-Z]+|Query read timeout)$/.test(code || reasonOf(thrown));
    if (lost) this.#work.lost(client);
    return lost;
  }
}

/** Translates a statement for Postgres: numbered parameters and 64-bit integers, outside of quotes. */
export function translate(sql: string): string {
  let count = 0;
  return sql.replace(/'(?:[^']|'')*'|\?|\bINTEGER\b/g, (found) => {
    if (found === '?') {
      count += 1;
      return `$${count}`;
    }
    return found === 'INTEGER' ? 'BIGINT' : found;
  });
}

/** Returns `host:port/database`, and conceals the password in this process's logs from now on. */
function placeOf(url: string): string {
  try {
    const { host, port, database, password } = new postgres.Client({ connectionString: url });
    if (typeof password === 'string') conceal(password);
    return `${host}:${port}/${database}`;
  } catch (thrown) {
    throw addressError(thrown);
  }
}

function toPeerworkError(place: string, thrown: unknown): unknown {
  if (thrown instanceof PeerworkError || thrown instanceof Conflict || thrown instanceof TypeError) return thrown;
  const code = codeOf(thrown);
  if (/^(40P01|40001|23505)$/.test(code)) return new Conflict(reasonOf(thrown), { cause: thrown });
  if (code === '53100') return new PeerworkError('disk-full', place, { cause: thrown });
  if (/^(53|57|08|25006|E[A-Z]+$)/.test(code)) return away(place, thrown);
  // Refused rather than unreachable: a wrong password, a missing database, no right to create tables.
  return /^(28|3D|42501|3F)/.test(code) ? openingError(place, thrown) : thrown;
}

/** Maps each cause of a failed opening to its own code, never to `ledger-away`: opening is not retried. */
function openingError(place: string, thrown: unknown): unknown {
  if (thrown instanceof PeerworkError && thrown.code !== 'ledger-away') return thrown;
  if (thrown instanceof TypeError) return thrown;
  if (thrown instanceof OnlyReads || (thrown instanceof PeerworkError && thrown.cause instanceof OnlyReads))
    return new PeerworkError('ledger-read-only', place, { cause: thrown });
  const first = firstOf(thrown instanceof PeerworkError ? (thrown.cause ?? thrown) : thrown);
  const cause = codeOf(first) || reasonOf(first);
  const code = isTlsError(first) ? 'ledger-tls' : CAUSES.find(([pattern]) => pattern.test(cause))?.[1];
  if (code === undefined) return thrown;
  return new PeerworkError(code, `${place}: ${plainReason(reasonOf(first))}`, { cause: first });
}

/** Rewords messages that come from the driver itself. */
function plainReason(reason: string): string {
  if (/client password must be/.test(reason)) return 'it wants a password, and the address has none';
  return reason === 'timeout expired' ? 'it did not respond in time' : reason;
}

/**
 * The error for an invalid address, or one that names an unreadable file. The parser's message may contain the address with its password,
 * so it is not used.
 */
function addressError(thrown: unknown): PeerworkError {
  if (systemCode(thrown)?.startsWith('E') === true && (thrown as NodeJS.ErrnoException).syscall !== undefined)
    return fileError(thrown, 'ledger-unusable', 'a file that the address of the ledger names');
  return new PeerworkError('ledger-unusable', 'postgres://…: this is no address of a Postgres database');
}

/** A name with several addresses fails with an AggregateError that has no message of its own. */
function firstOf(thrown: unknown): unknown {
  return thrown instanceof AggregateError && thrown.errors.length > 0 ? thrown.errors[0] : thrown;
}
