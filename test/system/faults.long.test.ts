import { existsSync } from 'node:fs';
import t, { type Test } from 'tap';
import { Cable } from '../lab/cable.js';
import { Grid } from '../lab/grid.js';
import { allOnce, slowMaster, writeSlowJobs, writeSlowTask } from '../lab/jobs.js';
import { requireTools } from '../lab/require.js';
import { until } from '../lab/until.js';

function newGrid(t: Test, jobs: number, ms: number): Grid {
  const grid = new Grid();
  t.teardown(() => grid.close());
  writeSlowTask(grid.folder);
  writeSlowJobs(grid.folder, jobs, () => ms);
  return grid;
}

function settledCount(grid: Grid): number {
  return existsSync(`${grid.folder}/results.ndjson`) ? grid.outcomes('results.ndjson').length : 0;
}

t.test('kill -9 of a Worker in the middle of its jobs', async (t) => {
  const grid = newGrid(t, 60, 100);
  await grid.tracker();
  const { program, token } = await grid.master(slowMaster);
  const victim = grid.worker(token, 'victim', ['--concurrency', '3']);
  grid.worker(token, 'other', ['--concurrency', '1']);
  await until(() => settledCount(grid) >= 10);
  victim.signal('SIGKILL');
  await until(() => settledCount(grid) >= 20);
  grid.worker(token, 'victim', ['--concurrency', '3']);
  t.equal((await program.ended).code, 0, program.text.slice(-1_000));
  allOnce(t, grid, 60);
});

t.test('kill -9 of the Master in the middle of a run, restarted on the same ledger', async (t) => {
  const grid = newGrid(t, 80, 100);
  await grid.tracker();
  const first = await grid.master(slowMaster);
  grid.worker(first.token, 'anna', ['--concurrency', '2']);
  grid.worker(first.token, 'berta', ['--concurrency', '2']);
  await until(() => settledCount(grid) >= 20);
  await first.program.stop('SIGKILL');
  t.ok(settledCount(grid) < 80);
  const second = await grid.master(slowMaster);
  t.equal(second.token, first.token, 'the same key, the same token');
  t.equal((await second.program.ended).code, 0, second.program.text.slice(-1_000));
  allOnce(t, grid, 80);
});

t.test('kill -9 of the tracker: who is linked works on, who comes later joins when it is back', async (t) => {
  const grid = newGrid(t, 300, 100);
  const tracker = await grid.tracker();
  const port = Number(new URL(grid.trackerUrl).port);
  const { program, token } = await grid.master(slowMaster);
  const anna = grid.worker(token, 'anna', ['--concurrency', '2']);
  await anna.line(/connected/);
  await tracker.stop('SIGKILL');
  const seen = settledCount(grid);
  await until(() => settledCount(grid) >= seen + 10);
  const late = grid.worker(token, 'late', ['--concurrency', '2']);
  await late.line(/tracker-unreachable/);
  await grid.tracker(port);
  await late.line(/connected/);
  t.equal((await program.ended).code, 0, program.text.slice(-1_000));
  allOnce(t, grid, 300);
});

for (const seconds of [5, 30]) {
  t.test(`a link cut for ${seconds} s`, async (t) => {
    if (!requireTools(t, { ip: 'iproute2' }, { root: true })) return;
    const grid = newGrid(t, 60, 200);
    const cable = new Cable();
    t.teardown(() => cable.close());
    await grid.tracker(0, { prefix: cable.inside('a'), host: cable.address('a') });
    const { program, token } = await grid.master(slowMaster, { prefix: cable.inside('a') });
    const worker = grid.worker(token, 'far', ['--concurrency', '2'], { prefix: cable.inside('b') });
    await until(() => settledCount(grid) >= 10);
    cable.cut();
    await worker.line(/disconnected/);
    await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
    cable.mend();
    t.equal((await program.ended).code, 0, program.text.slice(-1_000));
    allOnce(t, grid, 60);
  });
}

t.test('a Worker that is told to stop finishes what runs, delivers it, and takes no more', async (t) => {
  const grid = newGrid(t, 40, 300);
  await grid.tracker();
  const { program, token } = await grid.master(slowMaster);
  const worker = grid.worker(token, 'anna', ['--concurrency', '4']);
  await until(() => settledCount(grid) >= 4);
  worker.signal('SIGTERM');
  t.equal((await worker.ended).code, 0);
  const settled = settledCount(grid);
  await new Promise((resolve) => setTimeout(resolve, 500));
  t.equal(settledCount(grid), settled, 'nothing came after its end');
  grid.worker(token, 'berta', ['--concurrency', '8']);
  t.equal((await program.ended).code, 0, program.text.slice(-1_000));
  allOnce(t, grid, 40);
  t.ok(
    grid.outcomes('results.ndjson').every(({ attempts }) => attempts === 1),
    'a clean stop charges no attempt',
  );
});
