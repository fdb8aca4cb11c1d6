import { existsSync } from 'node:fs';
import t from 'tap';
import { Grid, type Program, until } from '../lab/grid.js';
import { writeSlowJobs, writeSlowTask } from '../lab/jobs.js';

const ROUNDS = Number(process.env['PEERWORK_CHAOS_ROUNDS'] ?? 100);
const SEED = Number(process.env['PEERWORK_CHAOS_SEED'] ?? Date.now() % 1_000_000);
const JOBS = ROUNDS * 40;
const MASTER = [
  '--task',
  'task',
  '--input',
  'jobs.ndjson',
  '--output',
  'results.ndjson',
  '--ledger',
  'sqlite:ledger.db',
  '--lease-ms',
  '2000',
];
const NAMES = ['anna', 'berta', 'clara'];

/** mulberry32: the same kills again for the same seed, as far as the machine's timing allows. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

t.test(`${ROUNDS} rounds of kill -9 at random (seed ${SEED}): every job has exactly one outcome`, { timeout: 45 * 60_000 }, async (t) => {
  const random = seeded(SEED);
  const grid = new Grid();
  t.teardown(() => grid.close());
  writeSlowTask(grid.folder);
  writeSlowJobs(grid.folder, JOBS, () => Math.floor(random() * 300));
  let tracker = await grid.tracker();
  const port = Number(new URL(grid.trackerUrl).port);
  let { program: master, token } = await grid.master(MASTER);
  const workers = new Map<string, Program>(NAMES.map((name) => [name, grid.worker(token, name, ['--concurrency', '4'])]));
  const killed = { master: 0, worker: 0, tracker: 0 };

  for (let round = 0; round < ROUNDS && master.running; round += 1) {
    await new Promise((resolve) => setTimeout(resolve, 100 + random() * 900));
    const dice = random();
    if (dice < 0.3) {
      killed.master += 1;
      await master.stop('SIGKILL');
      ({ program: master } = await grid.master(MASTER));
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
  const outcomes = grid.outcomes('results.ndjson');
  t.equal(outcomes.length, JOBS, 'as many outcomes as jobs');
  t.equal(new Set(outcomes.map(({ id }) => id)).size, JOBS, 'each job once');
  t.ok(
    outcomes.every(({ id, state, output }) => state === 'completed' && id === `job-${String(output)}`),
    'each with its own output',
  );
});
