import { readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { type Clock, pause } from '../clock.js';
import { LOCAL_JSON, parseJson } from '../kit/json.js';
import { isKnownDead, type PlacedProcess, placeSelf } from '../kit/process-mark.js';
import { isMissing, systemCode } from '../kit/system-error.js';
import { abortError } from './flights.js';

const POLL_MS = 200;
const TOUCH_MS = 2_000;
/** A holder of which nothing else is known, since it may be of another machine or container, and that has not touched its lock for this long was killed. */
const STALE_MS = 10_000;

/**
 * Does the work while no other process of this machine does it under the same lock file. Who waits asks `done` between two looks
 * and is spared the work if it answers something.
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
    await rm(file, { force: true }).catch(() => {}); // untouched, it is stale soon
  }
}

/** Tells that a lock is touched no more by looking on: its time and the clock may be those of two machines, or of before and after the clock was set. */
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
    // Two that remove the same stale lock at once may both get it; each then installs into a folder of its own and one rename wins.
    if ((holder !== undefined && isKnownDead(holder)) || watch.isStale(mtimeMs)) {
      await rm(file, { force: true });
      return await take(file, watch);
    }
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  return false;
}

/** Undefined: it is being written, was cut off, or is of an earlier version, which wrote a number alone. */
function holderOf(text: string): PlacedProcess | undefined {
  try {
    const { pid, mark, host, numbers } = parseJson(text, LOCAL_JSON) as PlacedProcess;
    const isWhole = Number.isSafeInteger(pid) && pid > 0 && [mark, host, numbers].every((part) => typeof part === 'string');
    return isWhole ? { pid, mark, host, numbers } : undefined;
  } catch {
    return undefined;
  }
}
