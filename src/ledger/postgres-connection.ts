import type pg from 'pg';
import { type Clock, systemClock, type Timer } from '../clock.js';
import { PeerworkError } from '../errors.js';
import { Backoff } from '../kit/backoff.js';
import { optionalPackage } from '../kit/optional-package.js';

export const { default: postgres } = await optionalPackage('pg');

const CONNECT_LIMIT_MS = 5_000;
/** The server cancels a statement after this time; the client gives up on an unresponsive connection a little later. */
const STATEMENT_LIMIT_MS = 30_000;
const RESPONSE_LIMIT_MS = 35_000;
const FIRST_RETRY_MS = 100;
const MAX_RETRY_MS = 5_000;
/** The first version with MATERIALIZED and pg_locks as they are used here. */
const OLDEST_SERVER = 120_000;

const INT8 = 20;
const NUMERIC = 1700;
const types = {
  getTypeParser: ((oid: number, format?: 'text') =>
    oid === INT8 || oid === NUMERIC ? Number : postgres.types.getTypeParser(oid, format)) as typeof postgres.types.getTypeParser,
};

/**
 * The statements are written for SQLite, whose planner only knows nested loops over indexes. Restricted to the same, Postgres makes the
 * same plans whether or not the tables have been analyzed since they were empty: a ledger grows by a million jobs between two runs of
 * ANALYZE.
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
const settingsWith = (set: string) =>
  Object.entries(SETTINGS)
    .map(([name, value]) => `${set} ${name} = ${value}`)
    .join('; ');
const SESSION = settingsWith('SET');
/** For a single transaction: behind a pooler, sessions are shared. */
export const LOCAL_SETTINGS = settingsWith('SET LOCAL');

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
  /** Called with each new connection before it is used. */
  readonly onUp?: (client: pg.Client, pooled: boolean) => Promise<unknown>;
}

/**
 * A connection that reconnects. Down → connecting (callers wait for the first attempt) → up, or away: calls are rejected at once with
 * `ledger-away` while attempts continue, 100 ms to 5 s apart. A read-only server, such as a replica before it is promoted, counts as away
 * too.
 *
 * A pooler such as pgbouncer gives each transaction to any free session: whatever is prepared, set, locked or listened for in one is
 * missing in the next. A pooler is recognised by the process id that it reports, which differs from the server's.
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

  /** The current connection, if it is up. */
  get current(): pg.Client | undefined {
    return this.#client;
  }

  /** Whether a pooler is in between, so that a session lasts for one transaction only. */
  get pooled(): boolean {
    return this.#pooled;
  }

  /** Resolves to the connection once it is up. Rejects with `ledger-away`; the first call rejects with the server's own error. */
  async ready(): Promise<pg.Client> {
    if (this.#closed) throw new PeerworkError('closed');
    if (this.#client !== undefined) return this.#client;
    if (this.#away !== undefined) throw this.#away;
    return this.#connect();
  }

  /** Drops a failed connection and reconnects. */
  lost(client: pg.Client): void {
    if (this.#client !== client) return;
    this.#client = undefined;
    client.end().catch(() => {});
    // Reconnect at once. The first attempt often fails, since even a server that is gone only briefly is seldom back within this turn; it
    // is then retried.
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
      query_timeout: RESPONSE_LIMIT_MS,
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

/** For an open ledger, a read-only server is away until it is promoted; for a ledger being opened, it is the wrong server. */
export class OnlyReads extends Error {
  override readonly name = 'OnlyReads';
}

/** Wraps an error as `ledger-away` unless it already has a code: messages of drivers and servers may contain parts of the URL. */
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
