import { type FSWatcher, watch } from 'node:fs';
import type { Clock, Timer } from '../clock.js';

const DEBOUNCE_MS = 100;
const POLL_MS = 5_000;
/** Beyond this the poll alone must do: systems limit how many folders may be watched. */
const MAX_WATCHED = 1_000;

/**
 * Calls `stir` when something may have changed in one of the folders: about 100 ms after the system reported it, and every few
 * seconds in any case, because some file systems (network, containers on a Mac) report nothing.
 */
export class FolderWatch {
  readonly #stir: () => void;
  readonly #clock: Clock;
  readonly #watchers = new Map<string, FSWatcher>();
  #soon: Timer | undefined;
  #poll: Timer | undefined;
  #closed = false;

  constructor(stir: () => void, clock: Clock) {
    this.#stir = stir;
    this.#clock = clock;
  }

  /** From now on these folders, not those before. `costMs`: how long a look takes; the poll spends little of the time on it. */
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
    this.#poll = this.#clock.after(Math.max(POLL_MS, costMs * 50), this.#stir, { unref: true });
  }

  close(): void {
    this.#closed = true;
    this.#soon?.cancel();
    this.#poll?.cancel();
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  #add(folder: string): void {
    try {
      const watcher = watch(folder, { persistent: false }, () => this.#changed());
      // A removed folder: its parent reports it too.
      watcher.on('error', () => {
        watcher.close();
        if (this.#watchers.get(folder) === watcher) this.#watchers.delete(folder);
      });
      this.#watchers.set(folder, watcher);
    } catch {
      // no watches left, or the folder is gone: the poll remains
    }
  }

  #changed(): void {
    if (this.#closed) return;
    this.#soon?.cancel();
    this.#soon = this.#clock.after(DEBOUNCE_MS, this.#stir, { unref: true });
  }
}
