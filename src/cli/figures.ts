/** Measures a rate per second over the last ten seconds, so that what is shown reflects what happens now. */
export class Meter {
  readonly #now: () => number;
  readonly #startedAt: number;
  #marks: { readonly at: number; readonly count: number }[] = [];

  constructor(now: () => number) {
    this.#now = now;
    this.#startedAt = now();
  }

  add(count = 1): void {
    const at = this.#now();
    const last = this.#marks.at(-1);
    // One mark per tenth of a second is precise enough and keeps the list short.
    if (last !== undefined && at - last.at < 100) this.#marks[this.#marks.length - 1] = { at: last.at, count: last.count + count };
    else {
      // Here as well, because a service may count for months before anyone reads the rate.
      this.#forgetBefore(at - METER_WINDOW_MS);
      this.#marks.push({ at, count });
    }
  }

  /** Marks in memory. */
  get size(): number {
    return this.#marks.length;
  }

  get perSecond(): number {
    const now = this.#now();
    this.#forgetBefore(now - METER_WINDOW_MS);
    const spanMs = Math.min(METER_WINDOW_MS, Math.max(now - this.#startedAt, 1));
    return (this.#marks.reduce((sum, { count }) => sum + count, 0) * 1000) / spanMs;
  }

  #forgetBefore(instant: number): void {
    this.#marks = this.#marks.filter(({ at }) => at >= instant);
  }
}

const METER_WINDOW_MS = 10_000;

/** Formats milliseconds as `12 ms`, `1.2 s`, `12 s`, `3 m 05 s` or `2 h 07 m`. */
export function formatDuration(ms: number): string {
  if (ms < 950) return `${Math.round(ms)} ms`;
  if (ms < 9_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${String(seconds % 60).padStart(2, '0')} s`;
  return `${Math.floor(seconds / 3600)} h ${String(Math.floor((seconds % 3600) / 60)).padStart(2, '0')} m`;
}

/** Formats a size as `1.5 MiB`. */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const power = Math.min(4, Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 1024 ** power).toFixed(1)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][power]}`;
}

/** Formats a rate per second, with one decimal below 100. */
export function formatRate(perSecond: number): string {
  return perSecond >= 100 ? perSecond.toFixed(0) : perSecond.toFixed(1);
}

/** Draws a progress bar of this width; `share` is from 0 to 1. */
export function bar(share: number, width: number): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * width);
  return `${'█'.repeat(full)}${'░'.repeat(width - full)}`;
}

/** Formats columns as wide as their widest cell, separated by two blanks. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) => row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join('  '))
    .join('\n');
}
