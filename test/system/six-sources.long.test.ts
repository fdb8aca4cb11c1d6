import t from 'tap';
import { requireRedis } from '../lab/redis.js';
import { SixSources } from '../lab/six-sources.js';
import { until } from '../lab/until.js';

/** `PEERWORK_SIX_SOURCES_MINUTES=60` runs an hour of it, with longer jobs. */
const asked = process.env['PEERWORK_SIX_SOURCES_MINUTES'];
const { minutes, jobMs } = asked === undefined ? { minutes: 1, jobMs: 150 } : { minutes: Number(asked), jobMs: 1_000 };
const PLACES = 4;
const SOURCES = 6;
/** Share of the time with a backlog. In the rest the last jobs finish. */
const PART_WITH_BACKLOG = 0.6;
const phaseMs = (minutes * 60_000 * PART_WITH_BACKLOG) / (SOURCES + 1);
const meanJobMs = (jobMs * 3.5) / 3;
const jobs = Math.ceil((minutes * 60_000 * PLACES) / SOURCES / meanJobMs);

t.test(
  'one Worker, six sources, each server killed once: nothing is lost, and all have their share',
  { timeout: (minutes + 15) * 120_000 },
  async (t) => {
    if (!requireRedis(t)) return;
    const lab = await SixSources.start(t, { jobs, jobMs, places: PLACES });
    const { worker, servers } = lab;
    const moment = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
    const shares = new Map<string, number>();
    const allHaveMore = async () => [...(await lab.done())].every(([source, done]) => done < (lab.expected.get(source) ?? 0));
    let measured = 0;
    /** Measures while all servers are up. */
    const measure = async () => {
      lab.places();
      await moment(phaseMs);
      const places = lab.places();
      t.comment([...places].map(([source, held]) => `${source} ${held.toFixed(2)}`).join(', '), await lab.state());
      if (!(await allHaveMore())) return;
      measured += 1;
      for (const [source, held] of places) shares.set(source, (shares.get(source) ?? 0) + held);
    };
    await worker.ready;
    await until(async () => [...(await lab.done()).values()].every((done) => done > 0), 100);
    await measure();
    for (const server of servers) {
      await server.kill();
      await moment(1_000);
      await server.start();
      const before = await server.done();
      await until(async () => (await server.done()) > before || (await server.done()) === lab.expected.get(server.source), 200);
      await measure();
    }
    t.ok(measured > 0, 'they were measured while all had work');
    const each = [...shares].map(([source, sum]) => ({ source, share: sum / measured }));
    const fair = each.reduce((sum, { share }) => sum + share, 0) / SOURCES;
    const all = each.map(({ source, share }) => `${source} ${share.toFixed(2)}`).join(', ');
    t.ok(
      each.every(({ share }) => share > fair / 2 && share < fair * 2),
      `places of ${PLACES}: ${all}`,
    );
    const total = async () => [...(await lab.done()).values()].reduce((sum, done) => sum + done, 0);
    while (!(await lab.isDone())) {
      const before = await total();
      await until(async () => (await total()) > before, 200);
    }
    t.pass(await lab.state());
    await worker.drain();
    t.equal(worker.status().outbox, 0, 'every outcome has arrived');
    lab.checkLog();
  },
);
