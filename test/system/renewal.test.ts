import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Grid } from '../lab/grid.js';
import { lateTimers } from '../lab/late-timers.js';
import { until } from '../lab/until.js';

/** A third of it is the interval between beats, which no other timer of a Worker has. */
const LEASE_MS = 3_333;
const BEAT_MS = 1_111;
const LEASES = 5;

const TASK = `
import { setTimeout as sleep } from 'node:timers/promises';
export default async ({ ms, talks }) => {
  const until = Date.now() + ms;
  while (Date.now() < until) {
    if (talks) console.log('still here');
    await sleep(200);
  }
  return 'done';
};
`;

for (const beats of [0, 2])
  t.test(`a Worker whose beats stop after ${beats}, and that is heard otherwise, keeps its leases`, async (t) => {
    const grid = new Grid();
    t.teardown(() => grid.close());
    mkdirSync(join(grid.folder, 'task'));
    writeFileSync(join(grid.folder, 'task', 'task.mjs'), TASK);
    await grid.tracker();
    const args = ['--task', 'task', '--http', '127.0.0.1:0', '--ledger', 'sqlite:l.db', '--lease-ms', String(LEASE_MS)];
    const { program, token } = await grid.master(args);
    const [url = ''] = /http:\/\/[^/\s]+/.exec(await program.line(/Dashboard: /)) ?? [];
    const jobs = ['talking', 'quiet'].map((id) => ({ id, data: { ms: LEASES * LEASE_MS, talks: id === 'talking' }, attempts: 5 }));
    const body = JSON.stringify(jobs);
    await fetch(`${url}/v1/jobs`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    const get = async (id: string) =>
      (await (await fetch(`${url}/v1/jobs/${id}`)).json()) as { state: string; attempts: number; worker?: string };
    const late = grid.worker(token, 'late', ['--concurrency', '2'], { env: lateTimers(grid.folder, BEAT_MS, beats) });
    await until(async () => (await get('talking')).state === 'leased' && (await get('quiet')).state === 'leased');
    // If any lease expires, this worker gets the job.
    const other = grid.worker(token, 'other', ['--concurrency', '2']);
    await other.line(/connected|joined/i);
    await until(async () => (await get('talking')).state === 'completed' && (await get('quiet')).state === 'completed');
    for (const { id } of jobs) t.match(await get(id), { settled: { attempts: 1, worker: 'late' } }, id);
    t.match(late.text, /a timer is withheld/);
    t.notMatch(program.text, /leases expired: their workers went silent/);
    t.notMatch(other.text, /result/);
  });
