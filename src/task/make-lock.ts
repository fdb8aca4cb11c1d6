import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PeerworkError } from '../errors.js';
import { removeTree } from '../kit/remove-tree.js';
import { planInstall } from './install-plan.js';
import { type NpmOptions, runNpm } from './npm.js';
import { confirmWeak } from './weak-integrity.js';

const MAKE_MS = 120_000;

interface LockRun {
  readonly signal: AbortSignal;
  readonly npm: NpmOptions;
  readonly timeoutMs?: number;
}

/** Lets npm choose versions for the fields as `dependencyFields` gives them. Rejects with `dependencies-unlocked`. */
export function makeLock(fields: string, { signal, npm, timeoutMs = MAKE_MS }: LockRun): Promise<string> {
  return inPassingFolder(async (work) => {
    await writeFile(join(work, 'package.json'), fields);
    const args = ['install', '--package-lock-only', '--ignore-scripts', '--omit=dev', '--omit-lockfile-registry-resolved'];
    const { fault } = await runNpm(args, { cwd: work, timeoutMs, signal }, npm);
    if (fault !== undefined) throw new PeerworkError('dependencies-unlocked', fault);
    return await readFile(join(work, 'package-lock.json'), 'utf8');
  });
}

/** Refuses before publishing what every Worker would refuse. Rejects with `dependencies-refused`. */
export async function checkLock(fields: string, lock: string, { signal, npm, timeoutMs = MAKE_MS }: LockRun): Promise<void> {
  const { packages } = planInstall(fields, lock);
  if (!packages.some(({ integrity }) => integrity.startsWith('sha1-'))) return;
  await inPassingFolder((cwd) => confirmWeak(packages, (args) => runNpm(args, { cwd, timeoutMs, signal }, npm)));
}

async function inPassingFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'peerwork-lock-'));
  try {
    return await work(folder);
  } finally {
    await removeTree(folder);
  }
}
