import type pg from 'pg';
import { type Clock, systemClock, type Timer } from '../clock.js';
import { PeerworkError } from '../errors.js';
import { Backoff } from '../kit/backoff.js';
import { optionalPackage } from '../kit/optional-package.js';

export const { default: postgres } = await optionalPackage('pg');

const CONNECT_LIMIT_MS = 5_000;
/** A statement is ended by the server after this time, a connection that does not answer at all is given up a little later. */
const STATEMENT_LIMIT_MS = 30_000;
const ANSWER_LIMIT_MS = 35_000;
const FIRST_RETRY_MS = 100;
const MAX_RETRY_MS = 5_000;
/** MATERIALIZED and pg_locks as they are used here. */
const OLDEST_SERVER = 120_000;

const INT8 = 20;
const NUMERIC = 1700;
const types = {
  getTypeParser: ((oid: number, format?: 'text') =>
    oid === INT8 || oid === NUMERIC ? Number : postgres.types.getTypeParser(oid, format)) as typeof postgres.types.getTypeParser,
};

/**
 * The statements are written for SQLite, whose planner knows only nested loops over indexes. Held to the same, Postgres makes the same plans
 * whether or not it has looked at the tables since they were empty: a ledger grows by a million jobs between two visits of ANALYZE.
 */
const SETTINGS = {
  enable_seqscan: 'off',
  enable_bitmapscan: 'off',
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
  jit: 'off',
  statement_timeout: STATEMENT_LIMIT_MS,
  idle_in_transaction_session_timeout: STATEMENT_LIMIT_MS,
  client_min_messages: 'warning',
};
const settingsAs = (set: string) =>
  Object.entries(SETTINGS)
    .map(([name, value]) => `${set} ${name} = ${value}`)
    .join('; ');
const SESSION = settingsAs('SET');
/** For a transaction alone: behind a pooler the session is anybody's. */
export const LOCAL_SETTINGS = settingsAs('SET LOCAL');

const SERVER = `SELECT current_setting('server_version_num')::int AS server, current_setting('server_encoding') AS encoding,
  pg_backend_pid() AS pid, pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool AS "readOnly"`;

interface Server {
  readonly server: number;
  readonly encoding: string;
  readonly pid: number;
  readonly readOnly: boolean;
}

export interface ConnectionOptions {
  readonly url: string;
  /** `host:port/database`, for messages. */
  readonly place: string;
  readonly name: string;
  readonly clock?: Clock;
  /** Runs on each new connection before it is used. */
  readonly onUp?: (client: pg.Client, pooled: boolean) => Promise<unknown>;
}

/**
 * One connection that comes back. Down → connecting: who calls waits for the first attempt → up, or away: calls are refused at once with
 * `ledger-away` while further attempts go on, from 100 ms to 5 s apart. A server that only reads, as a replica before it takes over, is away too.
 *
 * A pooler such as pgbouncer gives each transaction to whichever session is free: what is prepared, set, locked or listened for in one is not there in the
 * next. It is known by the number of the process that it names as its own, which is not that of the server's.
 */
export class PostgresConnection {
  readonly #options: ConnectionOptions;
  readonly #clock: Clock;
  #client: pg.Client | undefined;
  #pooled = false;
  #attempt: Promise<pg.Client> | undefined;
  #away: PeerworkError | undefined;
  readonly #backoff = new Backoff({ firstMs: FIRST_RETRY_MS, capMs: MAX_RETRY_MS });
  #timer: Timer | undefined;
  #closed = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** The connection as it is now. */
  get current(): pg.Client | undefined {
    return this.#client;
  }

  /** Whether a session lasts for one transaction. */
  get pooled(): boolean {
    return this.#pooled;
  }

  /** Rejects with `ledger-away`. The first call rejects with what the server said. */
  async ready(): Promise<pg.Client> {
    if (this.#closed) throw new PeerworkError('closed');
    if (this.#client !== undefined) return this.#client;
    if (this.#away !== undefined) throw this.#away;
    return this.#connect();
  }

  /** Gives up a connection that has failed, and looks for another. */
  lost(client: pg.Client): void {
    if (this.#client !== client) return;
    this.#client = undefined;
    client.end().catch(() => {});
    // A server that is only gone for a moment is seldom back within this turn.
    if (!this.#closed) this.#connect().catch(() => {});
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    const client = this.#client ?? (await this.#attempt?.catch(() => undefined));
    this.#client = undefined;
    await client?.end().catch(() => {});
  }

  #connect(): Promise<pg.Client> {
    this.#attempt ??= this.#open().then(
      (client) => {
        this.#attempt = undefined;
        this.#away = undefined;
        this.#backoff.reset();
        if (!this.#closed) this.#client = client;
        return client;
      },
      (thrown: unknown) => {
        this.#attempt = undefined;
        this.#away = away(this.#options.place, thrown);
        this.#retryLater();
        throw thrown;
      },
    );
    return this.#attempt;
  }

  #retryLater(): void {
    if (this.#closed) return;
    this.#timer = this.#clock.after(this.#backoff.nextMs(), () => this.#connect().catch(() => {}), { unref: true });
  }

  async #open(): Promise<pg.Client> {
    const { url, name, onUp } = this.#options;
    const client = new postgres.Client({
      connectionString: url,
      application_name: name,
      connectionTimeoutMillis: CONNECT_LIMIT_MS,
      query_timeout: ANSWER_LIMIT_MS,
      keepAlive: true,
      pipeline: true,
      types,
    });
    client.on('error', () => this.lost(client));
    client.on('end', () => this.lost(client));
    try {
      await client.connect();
      const { rows } = await client.query<Server>(SERVER);
      const { server = 0, encoding = '', pid, readOnly } = rows[0] ?? {};
      const { place } = this.#options;
      if (server < OLDEST_SERVER) throw new PeerworkError('ledger-server-old', `${place}: ${Math.floor(server / 10_000)}`);
      if (encoding !== 'UTF8') throw new PeerworkError('ledger-encoding', `${place} has ${encoding}`);
      if (readOnly) throw new OnlyReads('this server only reads, as a replica does');
      this.#pooled = pid !== (client as unknown as { readonly processID: number }).processID;
      if (!this.#pooled) await client.query(SESSION);
      await onUp?.(client, this.#pooled);
      return client;
    } catch (thrown) {
      await client.end().catch(() => {});
      throw thrown;
    }
  }
}

/** To an open ledger a server that only reads is away until it takes over; a ledger to be opened is at the wrong server. */
export class OnlyReads extends Error {
  override readonly name = 'OnlyReads';
}

/** What went wrong, by its code: the sentence of a driver or server may hold what the URL held. */
export function away(place: string, thrown: unknown): PeerworkError {
  if (thrown instanceof PeerworkError) return thrown;
  return new PeerworkError('ledger-away', `${place}: ${reasonOf(thrown)}`, { cause: thrown });
}

export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : 'no connection';
}

export function codeOf(thrown: unknown): string {
  return String((thrown as { code?: unknown } | undefined)?.code ?? '');
}
