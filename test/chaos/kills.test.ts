import { existsSync } from 'node:fs';
import t from 'tap';
import { Grid, type Program } from '../lab/grid.js';
import { allOnce, slowMaster, writeSlowJobs, writeSlowTask } from '../lab/jobs.js';
import { seededRandom } from '../lab/seeded-random.js';
import { until } from '../lab/until.js';

const ROUNDS = Number(process.env['PEERWORK_CHAOS_ROUNDS'] ?? 100);
const SEED = Number(process.env['PEERWORK_CHAOS_SEED'] ?? Date.now() % 1_000_000);
const JOBS = ROUNDS * 40;
const NAMES = ['anna', 'berta', 'clara'];

t.test(`${ROUNDS} rounds of kill -9 at random (seed ${SEED}): every job has exactly one outcome`, { timeout: 45 * 60_000 }, async (t) => {
  const random = seededRandom(SEED).next;
  const grid = new Grid();
  t.teardown(() => grid.close());
  writeSlowTask(grid.folder);
  writeSlowJobs(grid.folder, JOBS, () => Math.floor(random() * 300));
  let tracker = await grid.tracker();
  const port = Number(new URL(grid.trackerUrl).port);
  let { program: master, token } = await grid.master(slowMaster);
  const workers = new Map<string, Program>(NAMES.map((name) => [name, grid.worker(token, name, ['--concurrency', '4'])]));
  const killed = { master: 0, worker: 0, tracker: 0 };

  for (let round = 0; round < ROUNDS && master.running; round += 1) {
    await new Promise((resolve) => setTimeout(resolve, 100 + random() * 900));
    const dice = random();
    if (dice < 0.3) {
      killed.master += 1;
      await master.stop('SIGKILL');
      ({ program: master } = await grid.master(slowMaster));
    } else if (dice < 0.45) {
      killed.tracker += 1;
      await tracker.stop('SIGKILL');
      tracker = await grid.tracker(port);
    } else {
      killed.worker += 1;
      const name = NAMES[Math.floor(random() * NAMES.length)] ?? 'anna';
      await workers.get(name)?.stop('SIGKILL');
      workers.set(name, grid.worker(token, name, ['--concurrency', '4']));
    }
  }
  t.comment(`killed ${JSON.stringify(killed)}`);
  await until(() => !master.running, 200);
  t.equal((await master.ended).code, 0, master.text.slice(-2_000));
  t.ok(existsSync(`${grid.folder}/results.ndjson`));
  allOnce(t, grid, JOBS);
});
