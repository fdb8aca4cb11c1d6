import type LibsqlDatabase from 'libsql';
import { optionalPackage } from '../kit/optional-package.js';
import type { Value } from './driver.js';
import { hasNodeSqlite } from './package-of-ledger.js';

/** An open SQLite database, through either library. Errors carry SQLite's names as `code`, such as `SQLITE_BUSY`. */
export interface SqliteConnection {
  prepare(sql: string): SqliteStatement;
  /** Runs a script of several statements. */
  exec(script: string): void;
  readonly isOpen: boolean;
  close(): void;
}

export interface SqliteStatement {
  all(values: readonly Value[]): Record<string, Value>[];
  /** Returns the number of changed rows. */
  run(values: readonly Value[]): number;
}

/** The part of `node:sqlite` that is used; the types of Node 20 do not include it. */
interface NodeSqlite {
  readonly DatabaseSync: new (
    path: string,
  ) => {
    prepare(sql: string): { all(...values: Value[]): Record<string, Value>[]; run(...values: Value[]): { changes: number | bigint } };
    exec(script: string): void;
    close(): void;
  };
}

/** Loaded only where Node has no SQLite. */
const libsql = hasNodeSqlite() ? undefined : (await optionalPackage('libsql')).default;

/** Opens a database with Node's own SQLite where available, which passes values in and out in half the time; otherwise with libsql. */
export function openSqlite(path: string, timeoutMs: number): SqliteConnection {
  const builtin = nodeSqlite();
  return builtin === undefined ? new LibsqlConnection(path, timeoutMs) : new NodeConnection(builtin, path, timeoutMs);
}

function nodeSqlite(): NodeSqlite | undefined {
  if (!hasNodeSqlite()) return undefined;
  const { emitWarning } = process;
  // Suppress the warning that the module is experimental: that is our concern, not that of peerwork's users.
  process.emitWarning = () => {};
  try {
    const { getBuiltinModule } = process as { getBuiltinModule?: (name: string) => unknown };
    return getBuiltinModule?.('node:sqlite') as NodeSqlite | undefined;
  } finally {
    process.emitWarning = emitWarning;
  }
}

class NodeConnection implements SqliteConnection {
  readonly #database: InstanceType<NodeSqlite['DatabaseSync']>;
  isOpen = true;

  constructor({ DatabaseSync }: NodeSqlite, path: string, timeoutMs: number) {
    this.#database = withCode(() => new DatabaseSync(path));
    this.exec(`PRAGMA busy_timeout=${timeoutMs}`);
  }

  prepare(sql: string): SqliteStatement {
    const statement = withCode(() => this.#database.prepare(sql));
    return {
      // Rows of `node:sqlite` have no prototype.
      all: (values) => withCode(() => statement.all(...values)).map((row) => ({ ...row })),
      run: (values) => Number(withCode(() => statement.run(...values)).changes),
    };
  }

  exec(script: string): void {
    withCode(() => this.#database.exec(script));
  }

  close(): void {
    this.isOpen = false;
    this.#database.close();
  }
}

/** Primary result codes that matter when opening a ledger: https://sqlite.org/rescode.html */
const RESULT_CODES: Readonly<Record<number, string>> = {
  ...{ 3: 'SQLITE_PERM', 5: 'SQLITE_BUSY', 6: 'SQLITE_LOCKED', 8: 'SQLITE_READONLY', 10: 'SQLITE_IOERR' },
  ...{ 11: 'SQLITE_CORRUPT', 13: 'SQLITE_FULL', 14: 'SQLITE_CANTOPEN', 26: 'SQLITE_NOTADB' },
};

function withCode<T>(action: () => T): T {
  try {
    return action();
  } catch (thrown) {
    const { errcode } = thrown as { errcode?: number };
    const code = errcode === undefined ? undefined : RESULT_CODES[errcode & 0xff];
    if (code !== undefined) (thrown as { code?: string }).code = code;
    throw thrown;
  }
}

/**
 * libsql aborts the process when a boolean is bound, treats a lone `null` or a typed array as the list of values, truncates text at NUL,
 * and in `run` neither executes nor counts RETURNING. So values are passed as one checked array, and statements that return rows go through
 * `all` only.
 */
class LibsqlConnection implements SqliteConnection {
  readonly #database: LibsqlDatabase.Database;

  constructor(path: string, timeoutMs: number) {
    if (libsql === undefined) throw new Error('libsql is loaded where Node has no SQLite');
    this.#database = new libsql(path, { timeout: timeoutMs });
  }

  get isOpen(): boolean {
    return this.#database.open;
  }

  prepare(sql: string): SqliteStatement {
    const statement = this.#database.prepare<[readonly Value[]]>(sql);
    return {
      all: (values) => statement.all(values) as Record<string, Value>[],
      run: (values) => statement.run(values).changes,
    };
  }

  exec(script: string): void {
    this.#database.exec(script);
  }

  close(): void {
    this.#database.close();
  }
}
