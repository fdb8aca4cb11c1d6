import { endRuns } from './end-runs.js';
import { RUN_COLUMNS, type RunRow } from './job-row.js';
import { repeated, sized } from './lists.js';
import type { RunEnd } from './run-end.js';
import type { Transaction } from './transaction.js';

const ADDED = sized((count) => `SELECT ${RUN_COLUMNS} FROM job WHERE job.seq IN (${repeated('?', count)})`);
const LATEST = `SELECT ${RUN_COLUMNS}, job.output, job.finished_at FROM job WHERE job.merge_key IS NOT NULL AND job.state = 'completed'
  AND job.channel = ? AND job.merge_key = ? AND job.finished_at >= ? ORDER BY job.finished_at DESC LIMIT 1`;

/** Jobs that accept an outcome of the recent past take that of the latest twin that completed within their window. */
export async function shareOutcomes(
  transaction: Transaction,
  jobs: readonly { readonly seq: number; readonly keyWindowMs: number }[],
  now: number,
): Promise<void> {
  const windows = new Map(jobs.map(({ seq, keyWindowMs }) => [seq, keyWindowMs]));
  const rows = await transaction.allOf<RunRow>(ADDED, [...windows.keys()]);
  const ends: RunEnd[] = [];
  for (const row of rows) {
    const from = now - (windows.get(row.seq) ?? 0);
    const [twin] = await transaction.all<RunRow & { output: string; finished_at: number }>(LATEST, [row.channel, row.merge_key, from]);
    if (twin === undefined) continue;
    const { output, started_at: startedAt, finished_at: finishedAt } = twin;
    ends.push({
      row,
      state: 'completed',
      attemptsMade: 0,
      runAt: null,
      settled: false,
      startedAt,
      finishedAt,
      error: null,
      output,
      mergedWith: twin,
    });
  }
  await endRuns(transaction, ends, now);
}
