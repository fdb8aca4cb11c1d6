import t from 'tap';
import { requireRedis } from '../lab/redis.js';
import { seededRandom } from '../lab/seeded-random.js';
import { SixSources } from '../lab/six-sources.js';
import { until } from '../lab/until.js';

const ROUNDS = Number(process.env['PEERWORK_CHAOS_ROUNDS'] ?? 60);
const SEED = Number(process.env['PEERWORK_CHAOS_SEED'] ?? Date.now() % 1_000_000);

t.test(
  `one Worker, six sources, ${ROUNDS} kills of servers at random (seed ${SEED}): nothing is lost`,
  { timeout: 45 * 60_000 },
  async (t) => {
    if (!requireRedis(t)) return;
    const random = seededRandom(SEED).next;
    const lab = await SixSources.start(t, { jobs: ROUNDS * 20, jobMs: 100 });
    await lab.worker.ready;
    for (let round = 0; round < ROUNDS && !(await lab.isDone()); round += 1) {
      await new Promise((resolve) => setTimeout(resolve, 300 + random() * 3_000));
      const server = lab.servers[Math.floor(random() * lab.servers.length)];
      await server?.kill();
      await new Promise((resolve) => setTimeout(resolve, random() * 2_000));
      await server?.start();
    }
    await until(() => lab.isDone(), 500);
    t.pass(await lab.state());
    await lab.worker.drain();
    t.equal(lab.worker.status().outbox, 0);
    lab.checkLog();
  },
);
