import { readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { type Clock, pause } from '../clock.js';
import { LOCAL_JSON, parseJson } from '../kit/json.js';
import { isKnownDead, type PlacedProcess, placeSelf } from '../kit/process-mark.js';
import { isMissing, systemCode } from '../kit/system-error.js';
import { abortError } from './flights.js';

const POLL_MS = 200;
const TOUCH_MS = 2_000;
/**
 * A holder that has not touched its lock for this long is considered dead if nothing else is known about it, as when it is on another
 * machine or in another container.
 */
const STALE_MS = 10_000;

/**
 * Runs `work` while no other process runs it under the same lock file. While waiting, `done` is polled; if it returns a result, `work` is
 * skipped.
 */
export async function underLock<T>(
  file: string,
  { done, work, clock, signal }: { done: () => Promise<T | undefined>; work: () => Promise<T>; clock: Clock; signal: AbortSignal },
): Promise<T> {
  const watch = new StaleWatch(clock);
  for (;;) {
    if (signal.aborted) throw abortError(signal);
    const already = await done();
    if (already !== undefined) return already;
    if (await take(file, watch)) break;
    await pause(clock, POLL_MS, signal);
  }
  let touching = clock.after(TOUCH_MS, function touch() {
    const now = new Date();
    utimes(file, now, now).catch(() => {});
    touching = clock.after(TOUCH_MS, touch, { unref: true });
  });
  try {
    return (await done()) ?? (await work());
  } finally {
    touching.cancel();
    await rm(file, { force: true }).catch(() => {}); // left untouched, it soon becomes stale
  }
}

/**
 * Detects a stale lock by observing its time over a period. Comparing that time with the clock would not do: they may be those of two
 * machines, or from before and after the clock was set.
 */
class StaleWatch {
  readonly #clock: Clock;
  #mtimeMs: number | undefined;
  #since = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  isStale(mtimeMs: number): boolean {
    const now = this.#clock.now();
    if (mtimeMs !== this.#mtimeMs) {
      this.#mtimeMs = mtimeMs;
      this.#since = now;
    }
    return now - this.#since > STALE_MS;
  }
}

async function take(file: string, watch: StaleWatch): Promise<boolean> {
  try {
    await writeFile(file, `${JSON.stringify(placeSelf())}\n`, { flag: 'wx' });
    return true;
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  }
  try {
    const { mtimeMs } = await stat(file);
    const holder = holderOf(await readFile(file, 'utf8'));
    // Two processes that remove the same stale lock at once may both get it; each then installs into a folder of its own, and one rename
    // wins.
    if ((holder !== undefined && isKnownDead(holder)) || watch.isStale(mtimeMs)) {
      await rm(file, { force: true });
      return await take(file, watch);
    }
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  return false;
}

/** Returns the holder; undefined if the file is being written, was truncated, or is of an earlier version, which wrote only a number. */
function holderOf(text: string): PlacedProcess | undefined {
  try {
    const { pid, mark, host, numbers } = parseJson(text, LOCAL_JSON) as PlacedProcess;
    const isComplete = Number.isSafeInteger(pid) && pid > 0 && [mark, host, numbers].every((part) => typeof part === 'string');
    return isComplete ? { pid, mark, host, numbers } : undefined;
  } catch {
    return undefined;
  }
}
