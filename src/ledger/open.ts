import { PeerworkError } from '../errors.js';
import type { Driver } from './driver.js';
import type { Ledger } from './ledger.js';
import { migrate } from './migrate.js';
import { SqlLedger } from './sql-ledger.js';
import { SqliteDriver } from './sqlite.js';

export interface LedgerOptions {
  /** Numbers from 0 to below 1, for the jitter of back-offs and made-up ids. Default `Math.random`. */
  readonly random?: () => number;
}

/**
 * Opens or creates a ledger. `sqlite:FILE` keeps it in a file (mode 0600, its folder must exist), `memory:` until it is closed.
 * Rejects with `ledger-unusable`, `ledger-newer`, or `home-locked` while another ledger has the file open.
 */
export async function openLedger(url: string, options: LedgerOptions = {}): Promise<Ledger> {
  const driver = openDriver(url);
  try {
    await migrate(driver);
  } catch (thrown) {
    await driver.close();
    throw thrown;
  }
  return new SqlLedger(driver, options.random ?? Math.random);
}

function openDriver(url: string): Driver {
  if (url === 'memory:') return new SqliteDriver(':memory:');
  const file = url.startsWith('sqlite:') ? url.slice('sqlite:'.length) : '';
  // libsql would take `:memory:` and addresses of servers as well.
  if (file === '' || file.startsWith(':') || /^\w+:\/\//.test(file)) throw new PeerworkError('ledger-unusable', url);
  return new SqliteDriver(file);
}
