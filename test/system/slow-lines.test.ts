import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Grid } from '../lab/grid.js';
import { requireTools } from '../lab/require.js';
import { type LineCount, type LineOptions, SlowLine, slowLineTools } from '../lab/slow-line.js';
import { until } from '../lab/until.js';

/** `{ bytes, n }` → this many incompressible characters, and `n`. */
const WORDY_TASK = `
import { randomBytes } from 'node:crypto';
export default ({ bytes, n }) => ({ n, text: randomBytes((bytes * 3) / 4).toString('base64') });
`;

interface Bed {
  readonly grid: Grid;
  readonly line: SlowLine;
  /** Arguments of the Master, including the jobs. */
  readonly args: readonly string[];
}

async function openBed(t: Test, jobs: number, bytes: number, leaseMs: number, options: LineOptions): Promise<Bed> {
  const line = await SlowLine.open(options);
  const grid = new Grid();
  t.teardown(async () => {
    await grid.close();
    await line.close();
  });
  mkdirSync(join(grid.folder, 'task'));
  writeFileSync(join(grid.folder, 'task', 'task.mjs'), WORDY_TASK);
  const lines = Array.from({ length: jobs }, (_, n) => JSON.stringify({ id: `job-${n}`, data: { bytes, n } }));
  writeFileSync(join(grid.folder, 'jobs.ndjson'), `${lines.join('\n')}\n`);
  await grid.tracker(0, { prefix: line.inside('far'), host: line.address('far') });
  const files = ['--task', 'task', '--input', 'jobs.ndjson', '--output', 'results.ndjson', '--ledger', 'sqlite:ledger.db'];
  return { grid, line, args: [...files, '--lease-ms', String(leaseMs), '--log-level', 'info'] };
}

/** Checks that each job ran once and its outcome crossed the line once. */
function checkCarriedOnce(t: Test, { grid }: Bed, jobs: number, bytes: number, before: LineCount, after: LineCount, text: string): void {
  const outcomes = grid.outcomes('results.ndjson') as {
    id: string;
    state: string;
    attempts: number;
    output: { n: number; text: string };
  }[];
  t.equal(outcomes.length, jobs, 'as many outcomes as jobs');
  t.equal(new Set(outcomes.map(({ id }) => id)).size, jobs, 'each job once');
  t.ok(
    outcomes.every(({ id, state, output }) => state === 'completed' && id === `job-${output.n}` && output.text.length === bytes),
    'each with its own output',
  );
  t.strictSame([...new Set(outcomes.map(({ attempts }) => attempts))], [1], 'no attempt is charged');
  t.notMatch(text, /leases expired: their workers went silent/);
  const carried = after.up + after.lostUp - before.up - before.lostUp;
  t.ok(carried < 1.3 * jobs * bytes, `${carried} bytes on the line for ${jobs * bytes} of output`);
}

for (const { jobs, bytes, upMbit, leaseMs } of [
  { jobs: 1, bytes: 2_400_000, upMbit: 1, leaseMs: 3_000 },
  { jobs: 8, bytes: 480_000, upMbit: 2, leaseMs: 3_000 },
])
  t.test(`${jobs} outcomes of ${bytes} bytes over ${upMbit} Mbit/s, in leases of ${leaseMs} ms`, async (t) => {
    if (!requireTools(t, slowLineTools, { root: true })) return;
    const bed = await openBed(t, jobs, bytes, leaseMs, { upMbit, downMbit: 8, bufferMs: 8_000 });
    const { grid, line, args } = bed;
    const { program, token } = await grid.master(args, { prefix: line.inside('far') });
    const before = await line.count();
    const worker = grid.worker(token, 'slow', ['--concurrency', '4'], { prefix: line.inside('near') });
    t.equal((await program.ended).code, 0, program.text.slice(-1_000));
    checkCarriedOnce(t, bed, jobs, bytes, before, await line.count(), program.text);
    t.notMatch(worker.text, /fell silent/);
  });

t.test('a line that is cut in the middle of an outcome carries only the rest when it is back', async (t) => {
  if (!requireTools(t, slowLineTools, { root: true })) return;
  const bytes = 2_400_000;
  const bed = await openBed(t, 1, bytes, 20_000, { upMbit: 2, downMbit: 8 });
  const { grid, line, args } = bed;
  const { program, token } = await grid.master(args, { prefix: line.inside('far') });
  const before = await line.count();
  const worker = grid.worker(token, 'slow', [], { prefix: line.inside('near') });
  await until(async () => (await line.count()).up - before.up >= bytes * 0.7);
  await line.cut();
  await worker.line(/disconnected/);
  await line.mend();
  t.equal((await program.ended).code, 0, program.text.slice(-1_000));
  checkCarriedOnce(t, bed, 1, bytes, before, await line.count(), program.text);
});
