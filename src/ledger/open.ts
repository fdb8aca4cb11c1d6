import { PeerworkError } from '../errors.js';
import { withoutPassword } from '../log.js';
import type { Driver } from './driver.js';
import { Ledger } from './ledger.js';
import { migrate } from './migrate.js';
import type { LedgerOptions } from './requests.js';
import { Transaction } from './transaction.js';

/**
 * Opens or creates a ledger. `sqlite:FILE` stores it in a file (mode 0600; its folder must exist), `postgres://…` in a database that any
 * number of Masters may open at once, `memory:` until it is closed. Rejects with `ledger-…`, with the system's error for the file
 * (`file-denied` and similar), or with `ledger-locked` while another ledger has the file open.
 */
export async function openLedger(url: string, options: LedgerOptions = {}): Promise<Ledger> {
  const driver = await openDriver(url, options);
  try {
    const ledger = new Ledger(driver, options, await shardOf(driver));
    if (options.clock !== undefined) await ledger.begin();
    return ledger;
  } catch (thrown) {
    await driver.close();
    throw thrown;
  }
}

/** Opens the engine of a ledger and migrates its schema. Rejects like `openLedger`. */
export async function openDriver(url: string, options: Pick<LedgerOptions, 'listenUrl'> = {}): Promise<Driver> {
  const driver = await engineOf(url, options);
  try {
    await migrate(driver);
    return driver;
  } catch (thrown) {
    await driver.close();
    throw thrown;
  }
}

/** Openers that have tallies of their own. Beyond that number some share theirs, which only costs lock waits. */
const SHARDS = 16;

async function shardOf(driver: Driver): Promise<number> {
  if (driver.exclusively === undefined) return 0;
  return driver.transaction(async (sql) => (await new Transaction(sql).draw('shard', 1)) % SHARDS);
}

/** Engines are imported lazily: a Worker has no ledger, and so saves the memory of a native module. */
async function engineOf(url: string, { listenUrl }: Pick<LedgerOptions, 'listenUrl'>): Promise<Driver> {
  if (/^postgres(ql)?:\/\//.test(url))
    return (await import('./postgres.js')).PostgresDriver.open(url, listenUrl === undefined ? {} : { listenUrl });
  const file = url === 'memory:' ? ':memory:' : fileOf(url);
  const { SqliteDriver } = await import('./sqlite.js');
  return new SqliteDriver(file);
}

function fileOf(url: string): string {
  const file = url.startsWith('sqlite:') ? url.slice('sqlite:'.length) : '';
  // libsql would also accept `:memory:` and server addresses.
  if (file === '' || file.startsWith(':') || /^\w+:\/\//.test(file)) throw new PeerworkError('ledger-unusable', withoutPassword(url));
  return file;
}
