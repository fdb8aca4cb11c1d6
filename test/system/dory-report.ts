import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { packageRoot } from '../lab/grid.js';

/** The result of one scenario, a row of the report. */
export interface ScenarioRow {
  readonly id: string;
  readonly what: string;
  readonly ended: string;
  readonly seconds: number;
  /** Containers of this run, over all Workers. */
  readonly containers: number;
  /** Handled pages by container. */
  readonly handled: Readonly<Record<string, number>>;
  readonly results: number;
  /** How often pages were fetched more than once. */
  readonly again: number;
  readonly note?: string;
}

export function skewOf(handled: Readonly<Record<string, number>>): number | undefined {
  const counts = Object.values(handled);
  const total = counts.reduce((sum, count) => sum + count, 0);
  return counts.length < 2 || total === 0 ? undefined : (Math.max(...counts) - Math.min(...counts)) / total;
}

/** Writes the results as Markdown to `build/dory.md`. */
export function writeReport(rows: readonly ScenarioRow[]): void {
  const file = join(packageRoot, 'build', 'dory.md');
  const heading = ['id', 'scenario', 'ended', 's', 'containers', 'results', 'asked again', 'pages by container', 'skew', 'note'];
  const cells = rows.map(({ id, what, ended, seconds, containers, handled, results, again, note = '' }) => {
    const skew = skewOf(handled);
    const shares = Object.entries(handled).map(([name, count]) => `${name} ${count}`);
    const shown = skew === undefined ? '' : `${Math.round(skew * 100)} %`;
    return [id, what, ended, seconds.toFixed(1), containers, results, again, shares.join(', '), shown, note];
  });
  const lines = [heading, heading.map(() => '---'), ...cells].map((row) => `| ${row.join(' | ')} |`);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `# Dory: the scenarios\n\nWritten by \`npm run test:dory\`.\n\n${lines.join('\n')}\n`);
}
