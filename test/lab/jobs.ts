import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { Grid } from './grid.js';

/** A task that takes its time: `{ ms, n }` → `n` after `ms` milliseconds. */
const SLOW_TASK = `
import { setTimeout } from 'node:timers/promises';
export default async ({ ms, n }) => {
  await setTimeout(ms);
  return n;
};
`;

/** Writes the slow task into `folder/task`. */
export function writeSlowTask(folder: string): void {
  mkdirSync(join(folder, 'task'), { recursive: true });
  writeFileSync(join(folder, 'task', 'task.mjs'), SLOW_TASK);
}

/** Writes `jobs.ndjson` with `count` jobs `job-0` … for the slow task. */
export function writeSlowJobs(folder: string, count: number, ms: (n: number) => number): void {
  // Many attempts: a job whose worker is killed again and again must still complete in the end.
  const lines = Array.from({ length: count }, (_, n) => JSON.stringify({ id: `job-${n}`, data: { ms: ms(n), n }, attempts: 100 }));
  writeFileSync(join(folder, 'jobs.ndjson'), `${lines.join('\n')}\n`);
}

/** Command line of a Master for these jobs; leases are short, so that a killed Worker is soon missed. */
export const slowMaster: readonly string[] = [
  ...['--task', 'task', '--input', 'jobs.ndjson', '--output', 'results.ndjson'],
  ...['--ledger', 'sqlite:ledger.db', '--lease-ms', '2000'],
];

/** Checks that every job has exactly one recorded outcome: none is lost, none is duplicated. */
export function allOnce(t: Test, grid: Grid, jobs: number, file = 'results.ndjson'): void {
  const outcomes = grid.outcomes(file);
  t.equal(outcomes.length, jobs, 'as many outcomes as jobs');
  t.equal(new Set(outcomes.map(({ id }) => id)).size, jobs, 'each job once');
  t.ok(
    outcomes.every(({ id, state, output }) => state === 'completed' && id === `job-${String(output)}`),
    'each with its own output',
  );
}
