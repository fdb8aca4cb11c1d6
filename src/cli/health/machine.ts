import { mkdtemp, rm, statfs, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { DEFAULT_MEMORY_MB } from '../../config/defaults.js';
import { asPeerworkError } from '../../errors.js';
import type { Check } from '../../job/health.js';
import { makeFolder } from '../../kit/make-folder.js';
import { removeTree } from '../../kit/remove-tree.js';
import { runNpm } from '../../task/npm.js';
import { formatBytes } from '../figures.js';
import type { Options } from '../option-table.js';
import { sandboxOf } from '../wall.js';

const MiB = 1024 * 1024;
/** With less free space, npm or the next task file fails. */
const DISK_LEAST = 256 * MiB;
const DISK_ENOUGH = 1024 * MiB;

/** Checks free space where the home is or will be, and whether it is writable. */
export async function checkDisk(home: string): Promise<Check> {
  const name = 'disk';
  try {
    makeFolder(home);
    const probe = join(home, `.health-${process.pid}`);
    await writeFile(probe, 'x');
    await rm(probe);
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    return {
      name,
      state: 'fail',
      detail: `${home} cannot be written: ${why}`,
      hint: 'Make this user the folder’s owner, or choose another `--home`.',
    };
  }
  const { bavail, bsize, ffree, files } = await statfs(home);
  const free = bavail * bsize;
  const detail = `${formatBytes(free)} free for ${home}`;
  const hint = 'Make room, or set PEERWORK_STORE_QUOTA_MB lower.';
  // Some file systems do not count inodes.
  if (free < DISK_LEAST || (files > 0 && ffree < 1_000))
    return { name, state: 'fail', detail: files > 0 && ffree < 1_000 ? `${home}: no inodes left` : detail, hint };
  return free < DISK_ENOUGH ? { name, state: 'warn', detail, hint } : { name, state: 'ok', detail };
}

/** Checks that all jobs at once fit into the machine's memory. */
export function checkMemory({ concurrency, memoryMb }: Pick<Options, 'concurrency' | 'memoryMb'>, total = totalmem()): Check {
  const [jobs, each] = [concurrency ?? availableParallelism(), memoryMb ?? DEFAULT_MEMORY_MB];
  const detail = `${jobs} jobs of ${each} MiB at once, of ${formatBytes(total)}`;
  if (jobs * each * MiB <= total) return { name: 'memory', state: 'ok', detail };
  return {
    name: 'memory',
    state: 'warn',
    detail,
    hint: 'Lower PEERWORK_CONCURRENCY or PEERWORK_MEMORY_MB: if all jobs use their full limit, the machine runs out of memory.',
  };
}

/** Checks npm, which tasks with dependencies need; dependencies that are already installed work without a registry. */
export async function checkNpm(
  signal: AbortSignal,
  { sandbox, bubblewrap, npmCredentials }: Pick<Options, 'sandbox' | 'bubblewrap' | 'npmCredentials'>,
): Promise<Check> {
  const name = 'npm';
  const folder = await mkdtemp(join(tmpdir(), 'peerwork-health-'));
  try {
    const npm = { sandbox, credentials: npmCredentials ?? [], ...(bubblewrap !== undefined && { bubblewrap }) };
    const { fault } = await runNpm(['ping'], { cwd: folder, timeoutMs: 10_000, signal }, npm);
    if (fault === undefined) return { name, state: 'ok', detail: 'npm runs and its registry responds' };
    if (/not found on this machine/.test(fault)) return { name, state: 'fail', detail: fault, hint: 'Install npm; it comes with Node.' };
    return {
      name,
      state: 'warn',
      detail: `the registry does not respond: ${fault}`,
      hint: 'Check the network, the proxy and ~/.npmrc; until then tasks with new dependencies fail.',
    };
  } catch (thrown) {
    const { code, message, hint } = asPeerworkError(thrown);
    if (code === 'sandbox-missing') return { name, state: 'fail', detail: message, hint };
    return {
      name,
      state: 'warn',
      detail: 'the registry did not respond in time',
      hint: 'Check the network and the proxy; until then tasks with new dependencies fail.',
    };
  } finally {
    await removeTree(folder);
  }
}

/** Checks the sandbox of jobs: docs/isolation.md. */
export async function checkSandbox(options: Pick<Options, 'sandbox' | 'taskNetwork' | 'memoryMb' | 'bubblewrap'>): Promise<Check> {
  const name = 'sandbox';
  try {
    const { line, remedy } = await sandboxOf(options);
    if (remedy === undefined) return { name, state: 'ok', detail: line };
    return { name, state: 'warn', detail: line, hint: remedy };
  } catch (thrown) {
    const { message, hint } = asPeerworkError(thrown);
    return { name, state: 'fail', detail: message, hint };
  }
}
