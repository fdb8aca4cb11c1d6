import { mkdir, mkdtemp, rm, statfs, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { DEFAULT_MEMORY_MB, type Options } from '../../config.js';
import { asPeerworkError } from '../../errors.js';
import type { Check } from '../../job/health.js';
import { removeTree } from '../../kit/remove-tree.js';
import { runNpm } from '../../task/npm.js';
import { formatBytes } from '../figures.js';
import { sandboxOf } from '../wall.js';

const MiB = 1024 * 1024;
/** Less, and npm or the next task file fails. */
const DISK_LEAST = 256 * MiB;
const DISK_ENOUGH = 1024 * MiB;

/** Free space where the home is or will be, and whether it can be written. */
export async function checkDisk(home: string): Promise<Check> {
  const name = 'disk';
  try {
    await mkdir(home, { recursive: true, mode: 0o700 });
    const probe = join(home, `.health-${process.pid}`);
    await writeFile(probe, 'x');
    await rm(probe);
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    return {
      name,
      state: 'fail',
      detail: `${home} cannot be written: ${why}`,
      todo: 'Give this user the folder, or choose another `--home`.',
    };
  }
  const { bavail, bsize, ffree, files } = await statfs(home);
  const free = bavail * bsize;
  const detail = `${formatBytes(free)} free for ${home}`;
  const todo = 'Make room, or set PEERWORK_STORE_QUOTA_MB lower.';
  // Some file systems count no inodes.
  if (free < DISK_LEAST || (files > 0 && ffree < 1_000))
    return { name, state: 'fail', detail: files > 0 && ffree < 1_000 ? `${home}: no inodes left` : detail, todo };
  return free < DISK_ENOUGH ? { name, state: 'warn', detail, todo } : { name, state: 'ok', detail };
}

export function checkMemory({ concurrency, memoryMb }: Pick<Options, 'concurrency' | 'memoryMb'>, total = totalmem()): Check {
  const [jobs, each] = [concurrency ?? availableParallelism(), memoryMb ?? DEFAULT_MEMORY_MB];
  const detail = `${jobs} jobs of ${each} MiB at once, of ${formatBytes(total)}`;
  if (jobs * each * MiB <= total) return { name: 'memory', state: 'ok', detail };
  return {
    name: 'memory',
    state: 'warn',
    detail,
    todo: 'Lower PEERWORK_CONCURRENCY or PEERWORK_MEMORY_MB: if all jobs take what they may, the machine runs out.',
  };
}

/** npm is needed for tasks with dependencies; what was installed already works without a registry. */
export async function checkNpm(
  signal: AbortSignal,
  { sandbox, npmCredentials: credentials = [] }: Pick<Options, 'sandbox' | 'npmCredentials'>,
): Promise<Check> {
  const name = 'npm';
  const folder = await mkdtemp(join(tmpdir(), 'peerwork-health-'));
  try {
    const { fault } = await runNpm(['ping'], { cwd: folder, timeoutMs: 10_000, signal }, { sandbox, credentials });
    if (fault === undefined) return { name, state: 'ok', detail: 'npm runs and its registry answers' };
    if (/not found on this machine/.test(fault)) return { name, state: 'fail', detail: fault, todo: 'Install npm; it comes with Node.' };
    return {
      name,
      state: 'warn',
      detail: `the registry does not answer: ${fault}`,
      todo: 'Tasks with new dependencies fail until it does: check network, proxy and ~/.npmrc.',
    };
  } catch {
    return {
      name,
      state: 'warn',
      detail: 'the registry does not answer in time',
      todo: 'Tasks with new dependencies fail until it does: check network and proxy.',
    };
  } finally {
    await removeTree(folder);
  }
}

/** What jobs are kept in: docs/isolation.md. */
export async function checkSandbox(options: Pick<Options, 'sandbox' | 'taskNetwork' | 'memoryMb' | 'bubblewrap'>): Promise<Check> {
  const name = 'sandbox';
  try {
    const { line, remedy } = await sandboxOf(options);
    if (remedy === undefined) return { name, state: 'ok', detail: line };
    return { name, state: 'warn', detail: line, todo: remedy };
  } catch (thrown) {
    const { message, todo } = asPeerworkError(thrown);
    return { name, state: 'fail', detail: message, todo };
  }
}
