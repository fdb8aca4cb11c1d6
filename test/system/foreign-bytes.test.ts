import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { Grid } from '../lab/grid.js';
import { until } from '../lab/until.js';

const fixture = fileURLToPath(new URL('../../../test/fixtures/task-module/pipe.cjs', import.meta.url));
const TOKEN = 'a-token-of-the-test';
const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' };
const MEBIBYTE = 1024 * 1024;

function residentBytes(pid: number): number {
  const [, kilobytes = '0'] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) * 1024;
}

t.test(
  'jobs that write what they like to their pipe end neither Worker nor Master',
  { skip: !existsSync('/proc/self/status') },
  async (t) => {
    const grid = new Grid();
    t.teardown(() => grid.close());
    mkdirSync(join(grid.folder, 'task'));
    copyFileSync(fixture, join(grid.folder, 'task', 'task.cjs'));
    await grid.tracker();
    const { program, token } = await grid.master(['--task', 'task', '--http', '127.0.0.1:0', '--ledger', 'sqlite:l.db'], {
      env: { PEERWORK_HTTP_TOKENS: `admin:${TOKEN}` },
    });
    const [, url = ''] = /Dashboard: (http:\/\/\S+)\//.exec(await program.line(/Dashboard: /)) ?? [];
    const ask = async (method: string, path: string, body?: unknown) =>
      (await fetch(`${url}${path}`, { method, headers, ...(body !== undefined && { body: JSON.stringify(body) }) })).json() as Promise<
        Record<string, never>
      >;
    grid.worker(token, 'anna', ['--concurrency', '1']);
    await program.line(/connected/);
    const { pid } = program;
    const before = residentBytes(pid);
    const hostile = [4_400, 8_000, 200_000, 3_000_000].map((depth) => ({
      id: `deep-${depth}`,
      attempts: 1,
      data: { as: 'output', depth },
    }));
    await ask('POST', '/v1/jobs', [...hostile, { id: 'flood', data: { as: 'large progress', times: 100 } }, { id: 'good', data: {} }]);
    let most = 0;
    let answers = 0;
    await until(async () => {
      const health = await fetch(`${url}/health`);
      if (health.ok) answers += 1;
      most = Math.max(most, residentBytes(pid));
      return ((await ask('GET', '/v1/jobs/good')) as { state?: string }).state === 'completed';
    });
    for (const { id } of hostile)
      t.match(await ask('GET', `/v1/jobs/${id}`), { state: 'failed', settled: { error: { code: 'crashed' } } }, id);
    t.match(await ask('GET', '/v1/jobs/flood'), { state: 'completed', settled: { output: 'done', worker: 'anna' } });
    t.match(await ask('GET', '/v1/jobs/good'), { settled: { output: 'stayed', worker: 'anna' } });
    t.notMatch(JSON.stringify(await ask('GET', '/v1/jobs/flood/history')), /ppppp/, 'no large value came through');
    t.ok(answers > 0, 'health goes on answering');
    t.ok(most - before < 256 * MEBIBYTE, `the Master grew by ${Math.round((most - before) / MEBIBYTE)} MiB`);
  },
);
