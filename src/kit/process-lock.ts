import { readFile, rm, stat } from 'node:fs/promises';
import { LOCAL_JSON, parseJson } from './json.js';
import { isAlive, type MarkedProcess, markProcess, startedAt } from './process-mark.js';
import { isMissing } from './system-error.js';
import { createWhole } from './whole-file.js';

/** Paths that this very process holds: its own name in a lock file says nothing, it may be what an earlier one of the same number left. */
const held = new Set<string>();
const MAX_TRIES = 5;
/** The clocks of processes and of files are not quite the same. */
const START_TOLERANCE_MS = 2_000;

export interface ProcessLock {
  release(): Promise<void>;
}

/** Who holds a lock that could not be had. */
export interface LockHolder {
  readonly pid: number;
}

/**
 * Takes a lock that one living process at a time can hold, a file of its owner's number, start time and boot. One that its process left behind
 * is taken over, also where another process has that number now. Rejects with the error of the system if the file cannot be made.
 *
 * Whoever shares the folder must share the process numbers too: a container sees those of others as gone.
 */
export async function takeLock(path: string): Promise<ProcessLock | LockHolder> {
  if (held.has(path)) return { pid: process.pid };
  held.add(path);
  try {
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      // As a whole: one that is found empty would be taken for that of a process that was killed.
      if (await createWhole(path, `${JSON.stringify(markProcess(process.pid) ?? { pid: process.pid, mark: '' })}\n`)) return lockOf(path);
      const holder = await livingHolder(path);
      if (holder !== undefined) {
        held.delete(path);
        return holder;
      }
      await rm(path, { force: true });
    }
  } catch (error) {
    held.delete(path);
    throw error;
  }
  held.delete(path);
  return { pid: 0 };
}

export function isLock(taken: ProcessLock | LockHolder): taken is ProcessLock {
  return 'release' in taken;
}

function lockOf(path: string): ProcessLock {
  return {
    release: async () => {
      // It names a process that ends: whoever finds it takes it over.
      await rm(path, { force: true }).catch(() => {});
      held.delete(path);
    },
  };
}

async function livingHolder(path: string): Promise<LockHolder | undefined> {
  let text: string;
  let writtenAt: number;
  try {
    text = await readFile(path, 'utf8');
    writtenAt = (await stat(path)).mtimeMs;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  const holder = holderOf(text);
  if (holder === undefined || holder.pid === process.pid) return undefined;
  if (holder.mark !== '') return isAlive(holder) ? holder : undefined;
  // A number alone, as earlier versions wrote it: who started after that is somebody else.
  return (startedAt(holder.pid) ?? Number.POSITIVE_INFINITY) > writtenAt + START_TOLERANCE_MS ? undefined : holder;
}

function holderOf(text: string): MarkedProcess | undefined {
  if (/^\d{1,10}\s*$/.test(text)) return { pid: Number.parseInt(text, 10), mark: '' };
  try {
    const { pid, mark } = parseJson(text, LOCAL_JSON) as MarkedProcess;
    return Number.isSafeInteger(pid) && pid > 0 && typeof mark === 'string' ? { pid, mark } : undefined;
  } catch {
    return undefined;
  }
}
