import type { Lab } from './lab.js';

/** One line of the report. */
export interface Row {
  readonly benchmark: string;
  readonly figure: string;
  /** What it is held against, measured in the same run, or a fixed limit. */
  readonly reference: string;
  /** Figure by reference. */
  readonly ratio: number;
  /** Undefined where only a report is wanted. */
  readonly target?: { readonly least: number } | { readonly most: number };
  /** What else was seen, one line each. */
  readonly notes?: readonly string[];
  /** The measured values behind the figure. */
  readonly values?: Readonly<Record<string, unknown>>;
}

/** One file in `bench/`. */
export interface Benchmark {
  readonly name: string;
  /** Throws if it cannot be run; a missed target is not an error. */
  run(lab: Lab): Promise<readonly Row[]>;
}

export function isMet({ ratio, target }: Row): boolean | undefined {
  if (target === undefined) return undefined;
  return 'least' in target ? ratio >= target.least : ratio <= target.most;
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** The mean of the two in the middle if they are an even number. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.ceil(middle) - 1] ?? Number.NaN) + (sorted[Math.floor(middle)] ?? Number.NaN)) / 2;
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

const HEADINGS = ['benchmark', 'figure', 'reference', 'ratio', 'target', 'met'] as const;

/** A table in Markdown, so that it can be kept in the docs as it is. */
export function table(rows: readonly Row[]): string {
  const cells = [HEADINGS, HEADINGS.map(() => '---'), ...rows.map(cellsOf)];
  const widths = HEADINGS.map((_, column) => Math.max(...cells.map((line) => (line[column] ?? '').length)));
  return cells
    .map(
      (line) =>
        `| ${line.map((cell, column) => (cell === '---' ? '-'.repeat(widths[column] ?? 3) : cell.padEnd(widths[column] ?? 0))).join(' | ')} |`,
    )
    .join('\n');
}

function cellsOf(row: Row): readonly string[] {
  const met = isMet(row);
  const { target } = row;
  const limit = target === undefined ? '' : 'least' in target ? `>= ${target.least}` : `<= ${target.most}`;
  return [row.benchmark, row.figure, row.reference, row.ratio.toFixed(2), limit, met === undefined ? '' : met ? 'yes' : 'NO'];
}
