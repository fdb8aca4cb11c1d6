import { accessSync, closeSync, constants, openSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { PeerworkError } from '../errors.js';
import { fileError } from '../kit/system-error.js';
import { checkedValues, type Driver, type Statements, type Value } from './driver.js';
import { type Packing, packing } from './packed.js';
import { openSqlite, type SqliteConnection, type SqliteStatement } from './sqlite-engine.js';

interface Prepared {
  readonly statement: SqliteStatement;
  readonly unpack: Packing['unpack'];
}

/** How long opening waits for a predecessor that is just ending. */
const OPEN_TIMEOUT_MS = 500;

/**
 * A SQLite file with a guard around it.
 *
 * The file is locked by the operating system for as long as it is open (`locking_mode=EXCLUSIVE`, a lock that ends with the process, however
 * that ends). POSIX drops such a lock when *any* descriptor of the file is closed in this process: nothing here opens an existing file.
 */
export class SqliteDriver implements Driver {
  readonly #path: string;
  readonly #database: SqliteConnection;
  readonly #prepared = new Map<string, Prepared>();

  /** `file` is a path or `:memory:`. Throws `ledger-locked`, `ledger-damaged-file`, `ledger-unusable`, or what the system says of the file. */
  constructor(file: string) {
    const path = file === ':memory:' ? file : resolve(file);
    this.#path = path;
    try {
      if (path !== ':memory:') createPrivately(path);
      this.#database = openSqlite(path, OPEN_TIMEOUT_MS);
    } catch (thrown) {
      throw refusal(thrown, path);
    }
    try {
      this.#database.exec('PRAGMA locking_mode=EXCLUSIVE; PRAGMA cache_size=-16000; PRAGMA journal_mode=WAL');
      this.#database.exec('PRAGMA synchronous=FULL; PRAGMA journal_size_limit=67108864');
      this.#database.exec('BEGIN EXCLUSIVE; COMMIT');
    } catch (thrown) {
      this.#database.close();
      throw refusal(thrown, path);
    }
  }

  async all<Row>(sql: string, values: readonly Value[] = []): Promise<Row[]> {
    return this.#guard(() => {
      const { statement, unpack } = this.#prepare(sql);
      const rows = statement.all(checkedValues(values));
      return (unpack === undefined ? rows : rows.map(unpack)) as Row[];
    });
  }

  async run(sql: string, values: readonly Value[] = []): Promise<number> {
    return this.#guard(() => this.#prepare(sql).statement.run(checkedValues(values)));
  }

  async exec(script: string): Promise<void> {
    this.#guard(() => this.#database.exec(script));
  }

  async transaction<T>(work: (sql: Statements) => Promise<T>): Promise<T> {
    await this.run('BEGIN IMMEDIATE');
    try {
      const result = await work(this);
      await this.run('COMMIT');
      return result;
    } catch (thrown) {
      this.#rollBack();
      throw thrown;
    }
  }

  #rollBack(): void {
    try {
      this.#database.exec('ROLLBACK');
    } catch {
      // A full disk has rolled back already. What made it necessary is the error to report.
    }
  }

  async close(): Promise<void> {
    this.#prepared.clear();
    if (this.#database.isOpen) this.#letGo();
  }

  /**
   * libsql has no way to finalise a statement: a closed connection lives, and locks its file, until the garbage collector has taken the last
   * of them. So the lock is given up first, for which SQLite wants to leave the WAL mode; that also leaves one file instead of two.
   */
  #letGo(): void {
    try {
      this.#database.exec('PRAGMA journal_mode=DELETE; PRAGMA locking_mode=NORMAL; SELECT COUNT(*) FROM sqlite_master');
    } catch {
      // It never had the lock, or the disk is full or gone: what is committed is safe in the WAL.
    }
    this.#database.close();
  }

  #prepare(sql: string): Prepared {
    let prepared = this.#prepared.get(sql);
    if (prepared === undefined) {
      // One writer holds the whole file: there are no rows to lock.
      const { sql: text, unpack } = packing(sql.replace(/\sFOR UPDATE( SKIP LOCKED)?/g, ''));
      prepared = { statement: this.#database.prepare(text), unpack };
      this.#prepared.set(sql, prepared);
    }
    return prepared;
  }

  #guard<T>(action: () => T): T {
    try {
      return action();
    } catch (thrown) {
      throw refusal(thrown, this.#path);
    }
  }
}

/** `wx` never opens a file that is there: see the lock above. */
function createPrivately(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown;
  }
}

function refusal(thrown: unknown, path: string): unknown {
  if (!(thrown instanceof Error) || thrown instanceof TypeError) return thrown;
  const code = String((thrown as { code?: unknown }).code ?? '');
  if (/^SQLITE_(BUSY|LOCKED)/.test(code)) return new PeerworkError('ledger-locked', path, { cause: thrown });
  if (/^SQLITE_FULL/.test(code)) return new PeerworkError('disk-full', path, { cause: thrown });
  if (/^SQLITE_(NOTADB|CORRUPT)/.test(code))
    return new PeerworkError('ledger-damaged-file', `${path}: ${thrown.message}`, { cause: thrown });
  if (/^E[A-Z]+$/.test(code)) return fileError(thrown, 'ledger-unusable', path);
  if (/^SQLITE_(CANTOPEN|IOERR|READONLY|PERM)/.test(code) || thrown.message.startsWith('ConnectionFailed'))
    return whyNot(path) ?? new PeerworkError('ledger-unusable', `${path}: ${thrown.message}`, { cause: thrown });
  return thrown;
}

/** SQLite says only that it cannot; the system says why. Nothing is opened: see the lock above. */
function whyNot(path: string): PeerworkError | undefined {
  try {
    if (statSync(path).isDirectory()) return new PeerworkError('path-is-folder', path);
    accessSync(path, constants.R_OK | constants.W_OK);
    // Its log is made beside it.
    accessSync(dirname(path), constants.W_OK);
    return undefined;
  } catch (thrown) {
    return fileError(thrown, 'ledger-unusable', path);
  }
}
