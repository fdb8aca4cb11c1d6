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

/** How long opening waits for a previous process that is just exiting, in ms. */
const OPEN_TIMEOUT_MS = 500;

/**
 * A SQLite file, guarded against a second opener.
 *
 * The operating system locks the file for as long as it is open (`locking_mode=EXCLUSIVE`); the lock ends with the process, however that
 * ends. POSIX drops such a lock when *any* descriptor of the file is closed in this process, so nothing here opens an existing file.
 */
export class SqliteDriver implements Driver {
  readonly #path: string;
  readonly #database: SqliteConnection;
  readonly #prepared = new Map<string, Prepared>();

  /**
   * Opens `file`, a path or `:memory:`. Throws `ledger-locked`, `ledger-damaged-file`, `ledger-unusable`, or the system's error for the
   * file.
   */
  constructor(file: string) {
    const path = file === ':memory:' ? file : resolve(file);
    this.#path = path;
    try {
      if (path !== ':memory:') createPrivately(path);
      this.#database = openSqlite(path, OPEN_TIMEOUT_MS);
    } catch (thrown) {
      throw toPeerworkError(thrown, path);
    }
    try {
      this.#database.exec('PRAGMA locking_mode=EXCLUSIVE; PRAGMA cache_size=-16000; PRAGMA journal_mode=WAL');
      this.#database.exec('PRAGMA synchronous=FULL; PRAGMA journal_size_limit=67108864');
      this.#database.exec('BEGIN EXCLUSIVE; COMMIT');
    } catch (thrown) {
      this.#database.close();
      throw toPeerworkError(thrown, path);
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
      // On a full disk SQLite has already rolled back. The original error is the one to report.
    }
  }

  async close(): Promise<void> {
    this.#prepared.clear();
    if (this.#database.isOpen) this.#unlockAndClose();
  }

  /**
   * libsql cannot finalise statements: a closed connection stays alive, and keeps its file locked, until the garbage collector has
   * collected the last of them. So the lock is released first, which requires leaving WAL mode; that also leaves one file instead of two.
   */
  #unlockAndClose(): void {
    try {
      this.#database.exec('PRAGMA journal_mode=DELETE; PRAGMA locking_mode=NORMAL; SELECT COUNT(*) FROM sqlite_master');
    } catch {
      // It never held the lock, or the disk is full or gone: committed data is safe in the WAL.
    }
    this.#database.close();
  }

  #prepare(sql: string): Prepared {
    let prepared = this.#prepared.get(sql);
    if (prepared === undefined) {
      // A single writer holds the whole file: there are no rows to lock.
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
      throw toPeerworkError(thrown, this.#path);
    }
  }
}

/** Creates the file with mode 0600. `wx` never opens an existing file: see the lock above. */
function createPrivately(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown;
  }
}

function toPeerworkError(thrown: unknown, path: string): unknown {
  if (!(thrown instanceof Error) || thrown instanceof TypeError) return thrown;
  const code = String((thrown as { code?: unknown }).code ?? '');
  if (/^SQLITE_(BUSY|LOCKED)/.test(code)) return new PeerworkError('ledger-locked', path, { cause: thrown });
  if (/^SQLITE_FULL/.test(code)) return new PeerworkError('disk-full', path, { cause: thrown });
  if (/^SQLITE_(NOTADB|CORRUPT)/.test(code))
    return new PeerworkError('ledger-damaged-file', `${path}: ${thrown.message}`, { cause: thrown });
  if (/^E[A-Z]+$/.test(code)) return fileError(thrown, 'ledger-unusable', path);
  if (/^SQLITE_(CANTOPEN|IOERR|READONLY|PERM)/.test(code) || thrown.message.startsWith('ConnectionFailed'))
    return accessError(path) ?? new PeerworkError('ledger-unusable', `${path}: ${thrown.message}`, { cause: thrown });
  return thrown;
}

/** Asks the system why SQLite could not open the file. Nothing is opened: see the lock above. */
function accessError(path: string): PeerworkError | undefined {
  try {
    if (statSync(path).isDirectory()) return new PeerworkError('path-is-folder', path);
    accessSync(path, constants.R_OK | constants.W_OK);
    // SQLite creates its WAL next to the file.
    accessSync(dirname(path), constants.W_OK);
    return undefined;
  } catch (thrown) {
    return fileError(thrown, 'ledger-unusable', path);
  }
}
