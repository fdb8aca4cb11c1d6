import { existsSync } from 'node:fs';
import t, { type Test } from 'tap';
import { Grid } from '../lab/grid.js';
import { allOnce, writeSlowJobs, writeSlowTask } from '../lab/jobs.js';
import { LabPgbouncer, pgbouncerTools } from '../lab/pgbouncer.js';
import { findPostgres, LabPostgres } from '../lab/postgres.js';
import { requireThat, requireTools } from '../lab/require.js';
import { until } from '../lab/until.js';

const KILLS = 10;

/** A tracker, a database, and Masters that share it and a key file. */
async function newGrid(t: Test, jobs: number, ms: number) {
  const lab = await LabPostgres.start();
  const grid = new Grid();
  t.teardown(async () => {
    await grid.close();
    await lab.close();
  });
  writeSlowTask(grid.folder);
  writeSlowJobs(grid.folder, jobs, () => ms);
  await grid.tracker();
  const env = { PEERWORK_LEDGER: await lab.createDatabase() };
  const start = (results: string, args: readonly string[] = []) =>
    grid.master(['--task', 'task', '--input', 'jobs.ndjson', '--output', results, '--lease-ms', '2000', ...args], { env });
  return { lab, grid, env, start };
}

function ended(grid: Grid, results: string): number {
  return existsSync(`${grid.folder}/${results}`) ? grid.outcomes(results).length : 0;
}

t.test('two Masters on one Postgres, each killed again and again: every job has one outcome', async (t) => {
  if (!requireThat(t, findPostgres() !== undefined, 'postgres missing: apt-get install postgresql')) return;
  const { grid, start } = await newGrid(t, 400, 60);
  const files = ['one.ndjson', 'two.ndjson'] as const;
  const one = await start(files[0]);
  const two = await start(files[1]);
  t.equal(two.token, one.token, 'the same key, the same token');
  const masters = [one.program, two.program];
  for (const name of ['anna', 'berta', 'clara']) grid.worker(one.token, name, ['--concurrency', '2']);
  let killed = 0;
  while (killed < KILLS) {
    const which = killed % 2;
    const seen = ended(grid, files[which] ?? '');
    await until(() => ended(grid, files[which] ?? '') > seen + 10 || masters[which]?.running === false);
    if (masters[which]?.running === false) break;
    await masters[which]?.stop('SIGKILL');
    masters[which] = (await start(files[which] ?? '')).program;
    killed += 1;
  }
  t.ok(killed > 3, `${killed} kills`);
  for (const [index, file] of files.entries()) {
    t.equal((await masters[index]?.ended)?.code, 0, masters[index]?.text.slice(-1_000) ?? '');
    allOnce(t, grid, 400, file);
  }
});

t.test('what one Master is given, the Workers of the other do', async (t) => {
  if (!requireThat(t, findPostgres() !== undefined, 'postgres missing: apt-get install postgresql')) return;
  const { grid, env, start } = await newGrid(t, 20, 10);
  const serving = await grid.master(['--task', 'task'], { env });
  const anna = grid.worker(serving.token, 'anna');
  await anna.line(/connected/);
  // No Worker ever finds this one: its tracker does not exist.
  const giving = await start('results.ndjson', ['--tracker', 'ws://127.0.0.1:9']);
  t.equal((await giving.program.ended).code, 0, giving.program.text.slice(-1_000));
  allOnce(t, grid, 20);
});

t.test('a Postgres that goes away in the middle of a run and returns: nothing is lost', async (t) => {
  if (!requireThat(t, findPostgres() !== undefined, 'postgres missing: apt-get install postgresql')) return;
  const { lab, grid, start } = await newGrid(t, 80, 50);
  const { program, token } = await start('results.ndjson');
  grid.worker(token, 'anna', ['--concurrency', '2']);
  await until(() => ended(grid, 'results.ndjson') >= 10);
  await lab.stop('immediate');
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  await lab.startAgain();
  t.equal((await program.ended).code, 0, program.text.slice(-1_000));
  allOnce(t, grid, 80);
  t.notMatch(program.text, /not-checked-here/, 'the password is in no log');
});

t.test('behind pgbouncer in transaction mode Masters and their commands work as before', async (t) => {
  if (!requireThat(t, findPostgres() !== undefined, 'postgres missing: apt-get install postgresql')) return;
  if (!requireTools(t, pgbouncerTools)) return;
  const { lab, grid, env } = await newGrid(t, 40, 20);
  const pooler = await LabPgbouncer.start(lab);
  t.teardown(() => pooler.close());
  const direct = env.PEERWORK_LEDGER;
  const pooled = { PEERWORK_LEDGER: lab.urlOf(direct.slice(direct.lastIndexOf('/') + 1), pooler.port) };
  const serving = await grid.master(['--task', 'task', '--http', 'off'], { env: { ...pooled, PEERWORK_LEDGER_LISTEN: direct } });
  const giving = await grid.master(['--task', 'task', '--input', 'jobs.ndjson', '--output', 'results.ndjson'], { env: pooled });
  grid.worker(giving.token, 'anna', ['--concurrency', '2']);
  grid.worker(giving.token, 'berta', ['--concurrency', '2']);
  t.equal((await giving.program.ended).code, 0, giving.program.text.slice(-1_000));
  allOnce(t, grid, 40);
  t.notMatch(giving.program.text + serving.program.text, /prepared statement|could not be/);
});

t.test('a Master with another key is refused, and one that ends waits for its own jobs alone', async (t) => {
  if (!requireThat(t, findPostgres() !== undefined, 'postgres missing: apt-get install postgresql')) return;
  const { lab, grid, env } = await newGrid(t, 1, 600_000);
  const one = await grid.master(['--task', 'task', '--input', 'jobs.ndjson', '--output', 'one.ndjson'], { env });
  const stranger = grid.start(['master', '--tracker', grid.trackerUrl, '--task', 'task', '--key-file', 'other.key'], { env });
  t.equal((await stranger.ended).code === 0, false);
  t.match(stranger.text, /Masters with a different key are using this ledger/);
  t.match(stranger.text, /--key-file/, 'and what to do');

  grid.worker(one.token, 'anna', ['--concurrency', '1']);
  const database = env.PEERWORK_LEDGER.slice(env.PEERWORK_LEDGER.lastIndexOf('/') + 1);
  const leased = async () => (await lab.query("SELECT id FROM job WHERE state = 'leased'", database)).length;
  await until(async () => (await leased()) === 1);
  // No Worker ever finds this one: its tracker does not exist.
  const two = await grid.master(['--task', 'task', '--http', 'off', '--tracker', 'ws://127.0.0.1:9'], { env });
  await two.program.stop('SIGTERM');
  t.equal((await two.program.ended).code, 0, two.program.text.slice(-1_000));
  t.equal(await leased(), 1, 'the job of the other runs on');
  t.ok(one.program.running);
});
