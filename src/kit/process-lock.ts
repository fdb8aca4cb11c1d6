import { readFile, rm, stat } from 'node:fs/promises';
import { LOCAL_JSON, parseJson } from './json.js';
import { isAlive, type MarkedProcess, markProcess, startedAt } from './process-mark.js';
import { isMissing } from './system-error.js';
import { createWhole } from './whole-file.js';

/** Paths held by this very process: its own pid in a lock file proves nothing, since an earlier process may have had the same one. */
const held = new Set<string>();
const MAX_TRIES = 5;
/** Process start times and file times come from slightly different clocks. */
const START_TOLERANCE_MS = 2_000;

/** A lock held by this process. */
export interface ProcessLock {
  release(): Promise<void>;
}

/** The process that holds a lock. */
export interface LockHolder {
  readonly pid: number;
}

/**
 * Takes a lock that one living process at a time can hold: a file with its owner's pid, start time and boot id. A lock left behind
 * by a dead process is taken over, even if another process has that pid now. Rejects with the system's error if the file cannot be
 * created.
 *
 * All processes that share the folder must share a pid namespace too: a container sees those of others as gone.
 */
export async function takeLock(path: string): Promise<ProcessLock | LockHolder> {
  if (held.has(path)) return { pid: process.pid };
  held.add(path);
  try {
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      // Written atomically: an empty lock file would be mistaken for that of a killed process.
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

/** Distinguishes a lock that was taken from the holder of one that was not. */
export function isLock(taken: ProcessLock | LockHolder): taken is ProcessLock {
  return 'release' in taken;
}

function lockOf(path: string): ProcessLock {
  return {
    release: async () => {
      // If removal fails, the file names a process that is about to end, and its next finder takes it over.
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
  // A bare pid, as earlier versions wrote it: a process that started after the file was written is another one.
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
