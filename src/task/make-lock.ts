import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PeerworkError } from '../errors.js';
import { removeTree } from '../kit/remove-tree.js';
import { type PlannedPackage, planInstall } from './install-plan.js';
import { MAX_LOCK_BYTES } from './manifest.js';
import { type NpmOptions, type NpmResult, runNpm } from './npm.js';
import { readJson } from './package-fields.js';

/** Limit for packages locked by SHA-1 only: npm is started for each of them, which takes 0.3 s. */
const MAX_SHA1_ONLY = 64;

const DEFAULT_TIMEOUT_MS = 120_000;

interface LockRun {
  readonly signal: AbortSignal;
  readonly npm: NpmOptions;
  readonly timeoutMs?: number;
}

/** Has npm choose versions for the fields returned by `dependencyFields`. Rejects with `dependencies-unlocked`. */
export function makeLock(fields: string, { signal, npm, timeoutMs = DEFAULT_TIMEOUT_MS }: LockRun): Promise<string> {
  return inTemporaryFolder(async (work) => {
    await writeFile(join(work, 'package.json'), fields);
    const args = ['install', '--package-lock-only', '--ignore-scripts', '--omit=dev', '--omit-lockfile-registry-resolved'];
    const { fault } = await runNpm(args, { cwd: work, timeoutMs, signal }, npm);
    if (fault !== undefined) throw new PeerworkError('dependencies-unlocked', fault);
    return await readFile(join(work, 'package-lock.json'), 'utf8');
  });
}

/** Refuses a lockfile before publishing if every Worker would refuse it. Rejects with `dependencies-refused`. */
export async function checkLock(fields: string, lock: string, { signal, npm, timeoutMs = DEFAULT_TIMEOUT_MS }: LockRun): Promise<void> {
  const { packages } = planInstall(fields, lock);
  if (!packages.some(({ integrity }) => integrity.startsWith('sha1-'))) return;
  await inTemporaryFolder((cwd) => confirmSha1Only(packages, (args) => runNpm(args, { cwd, timeoutMs, signal }, npm)));
}

async function inTemporaryFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'peerwork-lock-'));
  try {
    return await work(folder);
  } finally {
    await removeTree(folder);
  }
}

/**
 * Confirms packages that are locked by SHA-1 only. This is allowed only where the registry has no stronger digest for that version either,
 * as some registries have not for packages published before 2017. `npm` runs npm with the given arguments. Rejects with
 * `dependencies-refused`, or with `dependencies-failed` if the registry does not respond.
 */
export async function confirmSha1Only(
  packages: readonly PlannedPackage[],
  npm: (args: readonly string[]) => Promise<NpmResult>,
): Promise<void> {
  const sha1Only = packages.filter(({ integrity }) => integrity.startsWith('sha1-'));
  if (sha1Only.length > MAX_SHA1_ONLY)
    throw new PeerworkError('dependencies-refused', `${sha1Only.length} packages are locked by SHA-1 only`);
  for (const { name, version, integrity } of sha1Only) {
    const { fault, stdout } = await npm(['view', `${name}@${version}`, 'dist', '--json']);
    if (fault !== undefined) throw new PeerworkError('dependencies-failed', fault);
    const dist = readJson(stdout, MAX_LOCK_BYTES, `what the registry says of ${name}`);
    const known = typeof dist === 'object' && dist !== null ? (dist as Readonly<Record<string, unknown>>) : {};
    const { integrity: stronger, shasum } = known;
    if (typeof stronger === 'string' && /\bsha(?:256|384|512)-/.test(stronger))
      throw new PeerworkError('dependencies-refused', `${name} ${version} is locked by SHA-1, but the registry has a stronger digest`);
    const digest = Buffer.from(integrity.slice('sha1-'.length), 'base64').toString('hex');
    if (shasum !== digest) throw new PeerworkError('dependencies-refused', `${name} ${version} has another SHA-1 in the registry`);
  }
}
