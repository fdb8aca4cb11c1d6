import { PeerworkError } from '../errors.js';
import { withoutPassword } from '../log.js';
import type { Driver } from './driver.js';
import type { Ledger } from './ledger.js';
import { migrate } from './migrate.js';
import { SqlLedger } from './sql-ledger.js';

export interface LedgerOptions {
  /** Numbers from 0 to below 1, for the jitter of back-offs and made-up ids. Default `Math.random`. */
  readonly random?: () => number;
}

/**
 * Opens or creates a ledger. `sqlite:FILE` keeps it in a file (mode 0600, its folder must exist), `postgres://…` in a database that any number
 * may open at once, `memory:` until it is closed. Rejects with `ledger-unusable`, `ledger-newer`, `ledger-away`, or `home-locked` while
 * another ledger has the file open.
 */
export async function openLedger(url: string, options: LedgerOptions = {}): Promise<Ledger> {
  const driver = await openDriver(url);
  try {
    await migrate(driver);
  } catch (thrown) {
    await driver.close();
    throw thrown;
  }
  return new SqlLedger(driver, options.random ?? Math.random);
}

/** Engines are loaded when they are used: a Worker has no ledger, and a native module less in its memory. */
async function openDriver(url: string): Promise<Driver> {
  if (/^postgres(ql)?:\/\//.test(url)) return (await import('./postgres.js')).PostgresDriver.open(url);
  const file = url === 'memory:' ? ':memory:' : fileOf(url);
  const { SqliteDriver } = await import('./sqlite.js');
  return new SqliteDriver(file);
}

function fileOf(url: string): string {
  const file = url.startsWith('sqlite:') ? url.slice('sqlite:'.length) : '';
  // libsql would take `:memory:` and addresses of servers as well.
  if (file === '' || file.startsWith(':') || /^\w+:\/\//.test(file)) throw new PeerworkError('ledger-unusable', withoutPassword(url));
  return file;
}
