import t from 'tap';
import { Grid } from '../lab/grid.js';
import { allOnce, writeSlowJobs, writeSlowTask } from '../lab/jobs.js';
import { findPostgres, LabPostgres } from '../lab/postgres.js';
import { requireThat } from '../lab/require.js';
import { seededRandom } from '../lab/seeded-random.js';
import { until } from '../lab/until.js';

const JOBS = 10_000;
const SEED = Number(process.env['PEERWORK_CHAOS_SEED'] ?? Date.now() % 1_000_000);
const FILES = ['one.ndjson', 'two.ndjson'] as const;

t.test(`two Masters on one Postgres, random kills, ${JOBS} jobs (seed ${SEED}): one outcome each`, { timeout: 45 * 60_000 }, async (t) => {
  if (!requireThat(t, findPostgres() !== undefined, 'postgres missing: apt-get install postgresql')) return;
  const random = seededRandom(SEED).next;
  const lab = await LabPostgres.start();
  const grid = new Grid();
  t.teardown(async () => {
    await grid.close();
    await lab.close();
  });
  writeSlowTask(grid.folder);
  writeSlowJobs(grid.folder, JOBS, () => Math.floor(random() * 60));
  await grid.tracker();
  const env = { PEERWORK_LEDGER: await lab.createDatabase() };
  const start = (file: string) =>
    grid.master(['--task', 'task', '--input', 'jobs.ndjson', '--output', file, '--lease-ms', '2000'], { env });
  const first = await start(FILES[0]);
  const masters = [first.program, (await start(FILES[1])).program];
  const names = ['anna', 'berta', 'clara'];
  const workers = names.map((name) => grid.worker(first.token, name, ['--concurrency', '4']));
  let kills = 0;
  while (masters.every((master) => master.running)) {
    await new Promise((resolve) => setTimeout(resolve, 300 + random() * 2_000));
    if (!masters.every((master) => master.running)) break;
    kills += 1;
    const index = Math.floor(random() * names.length);
    if (random() < 0.3) {
      await workers[index]?.stop('SIGKILL');
      workers[index] = grid.worker(first.token, names[index] ?? '', ['--concurrency', '4']);
    } else {
      const which = index % 2;
      await masters[which]?.stop('SIGKILL');
      masters[which] = (await start(FILES[which] ?? '')).program;
    }
  }
  t.comment(`${kills} kills`);
  await until(() => masters.every((master) => !master.running), 200);
  for (const [index, file] of FILES.entries()) {
    t.equal((await masters[index]?.ended)?.code, 0, masters[index]?.text.slice(-2_000) ?? '');
    allOnce(t, grid, JOBS, file);
  }
});
