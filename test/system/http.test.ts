import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Grid, packageRoot } from '../lab/grid.js';
import { writeSlowTask } from '../lab/jobs.js';
import { requireThat } from '../lab/require.js';
import { until } from '../lab/until.js';

const TOKEN = 'a-token-of-the-test';
const env = { PEERWORK_HTTP_TOKENS: `admin:${TOKEN}` };
const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' };

async function serving(grid: Grid) {
  writeSlowTask(grid.folder);
  await grid.tracker();
  const { program, token } = await grid.master(
    ['--task', 'task', '--http', '127.0.0.1:0', '--ledger', 'sqlite:l.db', '--output', 'o.ndjson'],
    { env },
  );
  const [, url = ''] = /Dashboard: (http:\/\/\S+)\//.exec(await program.line(/Dashboard: /)) ?? [];
  const ask = async (method: string, path: string, body?: unknown) => {
    const response = await fetch(`${url}${path}`, { method, headers, ...(body !== undefined && { body: JSON.stringify(body) }) });
    return response.json() as Promise<Record<string, never>>;
  };
  return { program, token, url, ask };
}

const ended = (grid: Grid) => (existsSync(join(grid.folder, 'o.ndjson')) ? grid.outcomes('o.ndjson').length : 0);

t.test('a Master with API and a Worker over a real link', async (t) => {
  const grid = new Grid();
  t.teardown(() => grid.close());
  const { program, token, url, ask } = await serving(grid);
  t.equal((await fetch(`${url}/v1/jobs`)).status, 401);
  t.equal((await fetch(`${url}/`)).status, 200, 'the page is for everybody, what it shows is not');
  grid.worker(token, 'anna', ['--label', 'attic']);
  await program.line(/connected/);
  await ask('POST', '/v1/jobs', [
    { id: 'job-1', data: { ms: 5, n: 1 }, requires: ['attic'] },
    { id: 'long', data: { ms: 60_000, n: 2 } },
  ]);
  await until(() => ended(grid) === 1);
  t.match(await ask('GET', '/v1/jobs/job-1'), { state: 'completed', settled: { output: 1, worker: 'anna' } });
  await until(async () => ((await ask('GET', '/v1/jobs/long')) as { state?: string }).state === 'leased');
  t.match(await ask('GET', '/v1/workers'), {
    workers: [
      {
        name: 'anna',
        connected: {
          path: 'direct',
          tier: /^(?:bwrap|process)$/,
          labels: ['os=linux', /arch=/, /isolation=/, /attic|isolation=container/],
        },
        jobs: ['long'],
      },
    ],
  });
  t.match(await ask('POST', '/v1/jobs/long/cancel'), { ids: ['long'] });
  await until(async () => {
    const { workers } = (await ask('GET', '/v1/workers')) as unknown as { workers: { connected?: { running: number } }[] };
    return workers[0]?.connected?.running === 0;
  });
  t.notMatch(program.text, new RegExp(TOKEN));
});

t.test('a Worker in Python: settles, fails, gives back on SIGTERM', async (t) => {
  if (!requireThat(t, spawnSync('python3', ['--version']).status === 0, 'python3 missing: apt-get install python3')) return;
  const grid = new Grid();
  t.teardown(() => grid.close());
  const { url, ask } = await serving(grid);
  const script = join(packageRoot, 'examples', 'worker.py');
  const worker = spawn('python3', [script, 'sums'], {
    env: { PATH: process.env['PATH'], PEERWORK_API: url, PEERWORK_HTTP_TOKEN: TOKEN, PEERWORK_NAME: 'py' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => worker.kill('SIGKILL'));
  let said = '';
  worker.stdout.on('data', (chunk) => {
    said += chunk;
  });
  const bad = { channel: 'sums', attempts: 1 };
  await ask('POST', '/v1/jobs', [
    { id: 'good', channel: 'sums', data: { numbers: [1, 2, 3] } },
    { id: 'bad', data: { numbers: ['x'] }, ...bad },
  ]);
  await until(() => ended(grid) === 2);
  t.match(await ask('GET', '/v1/jobs/good'), { settled: { state: 'completed', output: 6, worker: 'py' } });
  t.match(await ask('GET', '/v1/jobs/bad'), { settled: { state: 'failed', error: { code: 'task-threw', message: /TypeError/ } } });
  t.match(said, /good: completed, settled/);
  const exit = new Promise<number | null>((resolve) => worker.once('exit', resolve));
  worker.kill('SIGTERM');
  t.equal(await exit, 0);
});

t.test('a port that is taken', async (t) => {
  const grid = new Grid();
  t.teardown(() => grid.close());
  const { url } = await serving(grid);
  const temporary = join(grid.folder, 'temporary');
  mkdirSync(temporary);
  const args = ['master', '--task', 'task', '--ledger', 'memory:', '--http', new URL(url).port];
  const other = grid.start(args, { env: { TMPDIR: temporary } });
  const { code } = await other.ended;
  t.equal(code, 2);
  t.match(other.text, /address-unusable/);
  t.notMatch(other.text, /\n\s+at /);
  t.same(readdirSync(temporary), [], 'nothing is left of what it had opened');
});
