import { type FSWatcher, watch } from 'node:fs';
import type { Clock, Timer } from '../clock.js';

const DEBOUNCE_MS = 100;
const POLL_MS = 5_000;
/** Folders beyond this number are only polled: systems limit how many can be watched. */
const MAX_WATCHED = 1_000;

/**
 * Calls `onChange` when something may have changed in one of the folders: about 100 ms after the system reported it, and every few seconds
 * in any case, because some file systems (network, containers on a Mac) report nothing.
 */
export class FolderWatch {
  readonly #onChange: () => void;
  readonly #clock: Clock;
  readonly #watchers = new Map<string, FSWatcher>();
  #debounce: Timer | undefined;
  #poll: Timer | undefined;
  #closed = false;

  constructor(onChange: () => void, clock: Clock) {
    this.#onChange = onChange;
    this.#clock = clock;
  }

  /**
   * Watches these folders instead of the previous ones. `costMs` is the duration of one check; polling spends only a small share of the
   * time on it.
   */
  watch(folders: readonly string[], costMs: number): void {
    if (this.#closed) return;
    const wanted = new Set(folders.slice(0, MAX_WATCHED));
    for (const [folder, watcher] of this.#watchers) {
      if (wanted.has(folder)) continue;
      watcher.close();
      this.#watchers.delete(folder);
    }
    for (const folder of wanted) if (!this.#watchers.has(folder)) this.#add(folder);
    this.#poll?.cancel();
    this.#poll = this.#clock.after(Math.max(POLL_MS, costMs * 50), this.#onChange, { unref: true });
  }

  close(): void {
    this.#closed = true;
    this.#debounce?.cancel();
    this.#poll?.cancel();
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  #add(folder: string): void {
    try {
      const watcher = watch(folder, { persistent: false }, () => this.#changed());
      // The folder was removed: its parent reports that too.
      watcher.on('error', () => {
        watcher.close();
        if (this.#watchers.get(folder) === watcher) this.#watchers.delete(folder);
      });
      this.#watchers.set(folder, watcher);
    } catch {
      // No watches left, or the folder is gone: polling remains.
    }
  }

  #changed(): void {
    if (this.#closed) return;
    this.#debounce?.cancel();
    this.#debounce = this.#clock.after(DEBOUNCE_MS, this.#onChange, { unref: true });
  }
}
