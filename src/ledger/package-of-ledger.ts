import type { PackageSetName } from '../kit/package-sets.js';

/** First Node version in which `node:sqlite` needs no flag. */
const FIRST_NODE = [22, 13] as const;

export function hasNodeSqlite(version = process.versions.node): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > FIRST_NODE[0] || (major === FIRST_NODE[0] && minor >= FIRST_NODE[1]);
}

/** Returns the package set that a ledger at this address needs in addition to peerwork's own dependencies. */
export function packageOfLedger(url: string): PackageSetName | undefined {
  if (/^postgres(ql)?:\/\//.test(url)) return 'pg';
  return hasNodeSqlite() ? undefined : 'libsql';
}
