import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Grid } from '../lab/grid.js';
import { until } from '../lab/until.js';

const TASK = `
export default async (data, { signal }) => {
  if (data.fail) throw new Error(data.fail);
  if (data.waitMs) await new Promise((resolve) => { setTimeout(resolve, data.waitMs); signal.addEventListener('abort', resolve); });
  return { double: data.n * 2 };
};`;

async function gridWithTask(t: Test, jobs: readonly object[]): Promise<Grid> {
  const grid = new Grid();
  t.teardown(() => grid.close());
  mkdirSync(join(grid.folder, 'task'));
  writeFileSync(join(grid.folder, 'task', 'task.mjs'), TASK);
  writeJobs(grid, jobs);
  await grid.tracker();
  return grid;
}

function writeJobs(grid: Grid, jobs: readonly object[]): void {
  writeFileSync(join(grid.folder, 'jobs.ndjson'), jobs.map((job) => `${JSON.stringify(job)}\n`).join(''));
}

const ON_DISK = ['--task', 'task', '--input', 'jobs.ndjson', '--output', 'results.ndjson', '--ledger', 'sqlite:ledger.db'];

t.test('open jobs of the input are deleted: the run ends, and says so', async (t) => {
  const grid = await gridWithTask(t, [
    { id: 'first', data: { n: 1 } },
    { id: 'late', data: { n: 2 }, delayMs: 86_400_000 },
    { id: 'child', data: { n: 3 }, parents: ['late'] },
  ]);
  const run = await grid.master([...ON_DISK, '--http', '127.0.0.1:0']);
  const [api = ''] = /http:\/\/[^/\s]+/.exec(await run.program.line(/Dashboard: /)) ?? [];
  grid.worker(run.token, 'attic');
  const stateOf = async (id: string) => ((await (await fetch(`${api}/v1/jobs/${id}`)).json()) as { state: string }).state;
  await until(async () => (await stateOf('first')) === 'completed');
  t.match(await (await fetch(`${api}/v1/jobs/late`, { method: 'DELETE' })).json(), { deleted: 2 });
  t.match(await run.program.ended, { code: 1 });
  t.match(run.program.text, /3 jobs: 1 completed, 0 failed, 2 deleted in /);
  t.match(run.program.text, /^late +deleted +- +- +- +It was deleted before it had ended$/m);
  t.same(
    grid.outcomes('results.ndjson').map(({ id }) => id),
    ['first'],
  );
});

t.test('a run with failures: outcomes as promised, a table, exit code 1; run again it does and writes nothing twice', async (t) => {
  const grid = await gridWithTask(t, [
    { id: 'first', data: { n: 1 } },
    ...Array.from({ length: 40 }, (_, n) => ({ data: { n } })),
    { id: 'bad', data: { fail: 'no luck\nsecond line' }, attempts: 2, backoffMs: 1 },
  ]);
  const run = await grid.master(ON_DISK);
  const worker = grid.worker(run.token, 'attic', ['--concurrency', '2']);
  t.match(await run.program.ended, { code: 1 });
  t.equal(run.program.lines.filter((line) => line.includes('pw1.')).length, 1, 'the token was printed once');
  t.match(run.program.text, /^job +state +code +attempts +worker +message$/m);
  t.match(run.program.text, /^bad +failed +task-threw +2 +attic +no luck$/m);
  t.match(run.program.text, /42 jobs: 41 completed, 1 failed in /);

  const outcomes = grid.outcomes('results.ndjson');
  t.equal(outcomes.length, 42);
  const first = outcomes.find(({ id }) => id === 'first');
  t.match(first, { state: 'completed', output: { double: 2 }, attempts: 1, worker: 'attic', startedAt: Number, finishedAt: Number });
  t.match(
    outcomes.find(({ id }) => id === 'bad'),
    { state: 'failed', error: { code: 'task-threw', message: /no luck/ }, attempts: 2, worker: 'attic' },
  );

  // The file as a crash in the middle of a write leaves it.
  const whole = readFileSync(join(grid.folder, 'results.ndjson'), 'utf8');
  const lines = whole.trimEnd().split('\n');
  writeFileSync(join(grid.folder, 'results.ndjson'), `${lines.slice(0, -2).join('\n')}\n${lines.at(-2)?.slice(0, 20)}`);
  const again = await grid.master(ON_DISK);
  t.match(await again.program.ended, { code: 1 });
  t.equal(again.token, run.token, 'the same ledger has the same token');
  t.same(
    grid
      .outcomes('results.ndjson')
      .map(({ id }) => id)
      .sort(),
    outcomes.map(({ id }) => id).sort(),
    'each once',
  );
  t.equal(worker.lines.filter((line) => /info +result .*completed/.test(line)).length, 41, 'nothing ran twice');

  // More lines at the end: only these are run.
  appendFileSync(join(grid.folder, 'jobs.ndjson'), '{"id":"late","data":{"n":21}}\n');
  const more = await grid.master(ON_DISK);
  t.match(await more.program.ended, { code: 1 });
  t.match(grid.outcomes('results.ndjson').at(-1), { id: 'late', output: { double: 42 } });
  t.equal(grid.outcomes('results.ndjson').length, 43);
  await worker.stop();
});

t.test('what failed and is tried again: a line for each settlement, and the ledger says how it ended', async (t) => {
  const grid = await gridWithTask(t, [
    { id: 'good', data: { n: 1 } },
    { id: 'bad', data: { fail: 'no luck' }, attempts: 1 },
  ]);
  const first = await grid.master(ON_DISK);
  const worker = grid.worker(first.token, 'attic');
  t.match(await first.program.ended, { code: 1 });
  t.match(first.program.text, /2 jobs: 1 completed, 1 failed in [\s\S]*the same command with --retry-failed/);
  const states = () => grid.outcomes('results.ndjson').map(({ id, state }) => `${id} ${state}`);
  t.same(states().sort(), ['bad failed', 'good completed']);

  writeFileSync(join(grid.folder, 'task', 'task.mjs'), 'export default () => "mended";');
  t.match(await (await grid.master(ON_DISK)).program.ended, { code: 1 }, 'nobody asked to try again');
  const second = await grid.master([...ON_DISK, '--retry-failed']);
  t.match(await second.program.ended, { code: 0 }, second.program.text.slice(-800));
  t.match(second.program.text, /2 jobs: 2 completed, 0 failed/);
  t.same(states().slice(2), ['bad completed']);
  const settlements = grid.outcomes('results.ndjson').map(({ settlement }) => settlement as number);
  t.same(settlements, [...new Set(settlements)].sort(), 'numbered as they came');

  const third = await grid.master([...ON_DISK, '--retry-failed']);
  t.match(await third.program.ended, { code: 0 });
  t.match(third.program.text, /2 jobs: 2 completed, 0 failed\./, 'the failure is history');
  t.equal(states().length, 3, 'and nothing is written twice');
  await worker.stop();

  // The file as an older version wrote it, and a ledger that knows none of these jobs.
  const lines = grid.outcomes('results.ndjson').map(({ settlement: _, ...line }) => `${JSON.stringify(line)}\n`);
  writeFileSync(join(grid.folder, 'results.ndjson'), lines.join(''));
  t.match(await (await grid.master(ON_DISK)).program.ended, { code: 0 });
  t.match(await (await grid.master(ON_DISK.with(-1, 'memory:'))).program.ended, { code: 0 });
  t.equal(states().length, 3);
  t.match(await grid.start(['master', '--task', 'task', '--retry-failed']).ended, { code: 2 }, 'of which input?');
});

t.test('with --http and --stay a batch is served to its owner, who tries again what failed', async (t) => {
  const grid = await gridWithTask(t, [
    { id: 'good', data: { n: 1 } },
    { id: 'bad', data: { fail: 'no luck' }, attempts: 1 },
  ]);
  const run = await grid.master([...ON_DISK, '--http', '127.0.0.1:0', '--stay']);
  const [, api = ''] = /Dashboard: (http:\/\/\S+)\//.exec(await run.program.line(/Dashboard: /)) ?? [];
  const worker = grid.worker(run.token, 'attic');
  await run.program.line(/2 jobs: 1 completed, 1 failed/);
  await run.program.line(/Serving until/);
  writeFileSync(join(grid.folder, 'task', 'task.mjs'), 'export default () => "mended";');
  await run.program.line(/published/);
  const retried = grid.start(['job', 'bad', '--retry', '--api', api]);
  t.match(await retried.ended, { code: 0 });
  t.match(await grid.start(['job', 'bad', '--follow', '--api', api]).ended, { code: 0 });
  run.program.signal('SIGTERM');
  t.match(await run.program.ended, { code: 0 }, run.program.text.slice(-800));
  t.match(run.program.text, /2 jobs: 2 completed, 0 failed/);
  t.match(
    grid.outcomes('results.ndjson').slice(1),
    [
      { id: 'bad', state: 'failed' },
      { id: 'bad', state: 'completed' },
    ].slice(-2),
  );
  await worker.stop();
});

t.test('jobs from stdin, as they come; a bad line ends it with its number', async (t) => {
  const grid = await gridWithTask(t, []);
  const args = ['--task', 'green=task', '--input', '-', '--output', 'results.ndjson', '--ledger', 'memory:'];
  const good = await grid.master(args);
  const worker = grid.worker(good.token, 'attic', ['--concurrency', '2']);
  for (let n = 0; n < 1_200; n += 1) good.program.write(`{"data":{"n":${n}},"channel":"green"}\n`);
  await good.program.line(/progress|settled|worker=attic/);
  good.program.end('{"data":{"n":-1},"channel":"green"}');
  t.match(await good.program.ended, { code: 0 }, good.program.text.slice(-500));
  t.equal(new Set(grid.outcomes('results.ndjson').map(({ id }) => id)).size, 1_201);
  await worker.stop();

  const bad = await grid.master(args.with(5, 'other.ndjson'));
  bad.program.end('{"data":{"n":1},"channel":"green"}\n\n{"data":{"n":2}}\n');
  t.match(await bad.program.ended, { code: 2 });
  t.match(bad.program.text, /stdin\n.*line 3: no --task serves its channel "default"/);
});

t.test('the first signal drains: running jobs end, the rest waits for the next start', async (t) => {
  const grid = await gridWithTask(t, [
    { id: 'running', data: { n: 1, waitMs: 1_500 } },
    { id: 'waiting', data: { n: 2 }, priority: -1 },
  ]);
  const run = await grid.master(ON_DISK);
  const worker = grid.worker(run.token, 'attic', ['--concurrency', '1']);
  await worker.line(/info +job id=running/);
  worker.signal('SIGTERM');
  await worker.line(/^Stopping: the job that runs may end first/);
  t.match(await worker.ended, { code: 0 });
  run.program.signal('SIGINT');
  t.match(await run.program.ended, { code: 130 });
  t.match(run.program.text, /1 of 2 jobs is open\. The same command goes on with it\./);
  t.match(grid.outcomes('results.ndjson'), [{ id: 'running', state: 'completed' }]);

  const next = await grid.master(ON_DISK);
  const other = grid.worker(next.token, 'cellar');
  t.match(await next.program.ended, { code: 0 });
  t.same(
    grid.outcomes('results.ndjson').map(({ id }) => id),
    ['running', 'waiting'],
  );
  await other.stop();
});

t.test('the second signal stops at once and gives the job back', async (t) => {
  const grid = await gridWithTask(t, [{ id: 'long', data: { n: 1, waitMs: 600_000 } }]);
  const run = await grid.master(ON_DISK);
  const worker = grid.worker(run.token, 'attic', ['--concurrency', '1']);
  await worker.line(/info +job id=long/);
  worker.signal('SIGINT');
  await worker.line(/^Stopping:/);
  await new Promise((resolve) => setTimeout(resolve, 100));
  worker.signal('SIGINT');
  t.match(await worker.ended, { code: 130 });
  writeFileSync(join(grid.folder, 'task', 'task.mjs'), 'export default () => "quick";');
  const other = grid.worker(run.token, 'cellar');
  t.match(await run.program.ended, { code: 0 });
  t.match(grid.outcomes('results.ndjson'), [{ id: 'long', worker: 'cellar', output: 'quick', attempts: 1 }]);
  await other.stop();
});

t.test('a tracker prints its URL and ends in order', async (t) => {
  const grid = new Grid();
  t.teardown(() => grid.close());
  const tracker = await grid.tracker();
  t.match(grid.trackerUrl, /^ws:\/\/127\.0\.0\.1:\d+$/);
  const port = new URL(grid.trackerUrl).port;
  const second = grid.start(['tracker', '--host', '127.0.0.1', '--port', port]);
  t.match(await second.ended, { code: 2 });
  t.match(second.text, /cannot listen.*EADDRINUSE/);
  tracker.signal('SIGTERM');
  t.match(await tracker.ended, { code: 0 });
});
