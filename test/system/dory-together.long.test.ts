import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { writeCredentials } from '../../src/wires/dory/source/credentials.js';
import { insideDockerLab } from '../lab/docker.js';
import { Program, packageRoot } from '../lab/grid.js';
import { redisTools } from '../lab/redis.js';
import { until } from '../lab/until.js';
import { DoryBed } from './dory-bed.js';

const lab = await insideDockerLab(t, import.meta.url, redisTools);

/** Several Workers, and what may happen to them, with real containers. */
if (lab !== undefined) {
  const bed = await DoryBed.start(lab);
  const { api, site } = bed;
  t.afterEach(() => bed.clear());
  t.teardown(() => bed.close());

  /** Builds an image other than our crawler's that runs the given script. */
  async function imageOf(name: string, script: string): Promise<string> {
    const base = await lab?.nodeImage('peerwork-test/dory-base:1', ['peerwork.egress=proxy']);
    const folder = join(lab?.folder ?? '', name);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'Dockerfile'), `FROM ${base}\nENTRYPOINT ["/bin/sh", "-c", ${JSON.stringify(script)}]\n`);
    await lab?.docker('build', '-q', '-t', `peerwork-test/${name}:1`, folder);
    return `peerwork-test/${name}:1`;
  }

  /** Checks that each page was handled and reported to the API once, and that nothing is left running. */
  async function allDone(t: Test, runId: string, pages: number): Promise<void> {
    const { handled, requests } = await bed.inspect(runId);
    t.equal(handled, pages, 'every page is handled');
    t.equal(requests.length, pages);
    t.equal(api.runs.get(runId)?.results.size, pages, 'and its result recorded once');
    t.same(await bed.leftOf(runId), [], 'no container is left');
  }

  t.test('a container is told what dory-worker tells it, and nobody else is told the key', async (t) => {
    const dockerImage = await imageOf('sleeper', 'sleep 60');
    for (const [runId, containerCount] of [
      ['alone', 1],
      ['shared', 2],
    ] as const) {
      bed.worker('home');
      const actorConfig = { anything: 'that the image understands', ünïcode: '✓' };
      await bed.enqueue(runId, { actorConfig, dockerImage, containerCount, actorTimeoutSecs: 12 });
      let ids: readonly string[] = [];
      while (ids.length < containerCount) ids = await bed.containersOf(runId);
      const [facts] = JSON.parse((await lab.docker('inspect', ids.at(-1) ?? '')) || '[]') as [
        { Config: { Env: string[]; Labels: Record<string, string> }; Args: string[]; Path: string },
      ];
      const env = Object.fromEntries(facts.Config.Env.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
      t.match(JSON.parse(Buffer.from(env['ACTOR_CONFIG'] ?? '', 'base64').toString('utf8')), actorConfig);
      t.match(env, {
        API_BASE_URL: `http://host.docker.internal:${api.port}`,
        WORKER_API_KEY: 'dwk_a-key-for-tests',
        RUN_ID: runId,
        CRAWLEE_MEMORY_MBYTES: '256',
      });
      const distributed = ['REDIS_URL', 'QUEUE_NAME', 'WORKER_ID', 'IDLE_TIMEOUT_SECS'];
      t.same(
        distributed.filter((name) => name in env),
        containerCount === 1 ? [] : distributed,
      );
      if (containerCount > 1)
        t.match(env, {
          REDIS_URL: `redis://host.docker.internal:${bed.redis.port}`,
          QUEUE_NAME: runId,
          WORKER_ID: /^worker-[12]$/,
          IDLE_TIMEOUT_SECS: '6',
        });
      t.match(facts.Config.Labels, { 'dory.run': runId, 'dory.worker': 'home' });
      t.notMatch([facts.Path, ...facts.Args].join(' '), /dwk_/);
      for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
        const command = await after(0)
          .then(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8'))
          .catch(() => '');
        if (command.includes('dwk_a-key-for-tests') && !command.includes('dory-process'))
          t.fail(`in the process list: ${command.slice(0, 80)}`);
      }
      api.cancelled = [runId];
      await api.until(() => api.runs.get(runId)?.status === 'failed');
      t.same(await bed.leftOf(runId), []);
      t.match(api.runs.get(runId), { exitCode: 143 }, 'cancelled, its containers are stopped');
      api.cancelled = [];
      await bed.clear();
    }
  });

  t.test('the worst exit code of the containers is the run’s', async (t) => {
    const dockerImage = await imageOf('exits', 'case $WORKER_ID in worker-1) exit 0;; worker-2) exit 3;; *) kill -9 $$;; esac');
    bed.worker('home');
    for (const [containerCount, exitCode] of [
      [2, 3],
      [3, 137],
    ] as const) {
      const { run, id } = await bed.enqueue(`exits-${containerCount}`, { actorConfig: {}, dockerImage, containerCount });
      t.equal(await bed.ended(id), 'failed');
      t.match(run, { status: 'failed', exitCode });
    }
  });

  t.test('a container that says for itself how it ended is not contradicted', async (t) => {
    bed.worker('home');
    const { run, id } = await bed.enqueue('callback', { actorConfig: bed.actor(2) });
    await bed.ended(id);
    const finals = run.statuses.filter(({ status }) => status === 'completed');
    t.match(finals, [{ exitCode: 0 }]);
    t.equal(finals[0]?.['fallback'], undefined, 'the container’s own');
    t.equal(api.callsOf(/GET .*callback.config/).length, 1);
  });

  t.test('a key that is revoked while containers work costs no run and no page', async (t) => {
    bed.delayMs = 50;
    const credentialsFile = join(t.testdir({}), 'credentials');
    const apiBaseUrl = `http://localhost:${api.port}`;
    const logIn = async (apiKey: string) => {
      api.keys.add(apiKey);
      await writeCredentials({ apiBaseUrl, apiKey }, credentialsFile);
    };
    await logIn('dwk_the-first');
    bed.worker('home', { credentialsFile, apiKey: undefined as never });
    for (const containerCount of [2, 1]) {
      const pages = 60;
      const config = { actorConfig: bed.actor(pages, { maxConcurrency: 2 }), containerCount };
      const { run, id } = await bed.enqueue(`revoked-${containerCount}`, config);
      await api.until(() => run.results.size > 10);
      api.keys.clear();
      await until(async () => (await bed.queue.getJobState(id)) === 'waiting');
      t.equal(run.status, 'running', 'nobody says that it failed');
      t.ok(run.results.size < pages);
      await logIn(`dwk_of-${containerCount}`);
      t.equal(await bed.ended(id), 'completed', JSON.stringify(run.statuses));
      t.equal(run.results.size, pages);
    }
    api.keys.add('dwk_a-key-for-tests');
  });

  t.test('three Workers share one run, each with containers of its own', async (t) => {
    bed.delayMs = 50;
    const config = { actorConfig: bed.actor(200, { maxConcurrency: 2 }), containerCount: 2 };
    const { run, id } = await bed.enqueue('three', config);
    bed.worker('home');
    await api.until(() => run.status === 'running');
    bed.worker('attic', { queue: 'another-queue' });
    bed.worker('cellar', { queue: 'another-queue' });
    t.equal(await bed.ended(id), 'completed', JSON.stringify(run.statuses));
    t.same([...run.exits].map(({ workerId, exitCode }) => [workerId, exitCode]).sort(), [
      ['attic', 0],
      ['cellar', 0],
    ]);
    const { byContainer } = await bed.inspect('three');
    t.same(Object.keys(byContainer).sort(), [
      'attic-worker-1',
      'attic-worker-2',
      'cellar-worker-1',
      'cellar-worker-2',
      'worker-1',
      'worker-2',
    ]);
    t.same(site.asked, { pages: 200, times: 200 }, 'no page twice');
    await allDone(t, 'three', 200);
  });

  t.test('the coordinator is killed, then its successor’s helper: all pages are handled', async (t) => {
    bed.delayMs = 50;
    const { run, id, enqueuedAt } = await bed.enqueue('killed', { actorConfig: bed.actor(250, { maxConcurrency: 2 }), containerCount: 2 });
    const first = bed.process('first');
    await api.until(() => run.coordinatorWorkerId === 'first');
    const second = bed.process('second');
    await api.until(() => run.participants.has('second') && site.asked.pages > 40);
    await bed.kill(first);
    await api.until(() => run.coordinatorWorkerId === 'second', 'a new coordinator');
    const third = bed.process('third');
    await api.until(() => run.participants.has('third') || run.status !== 'running');
    await bed.kill(third);
    t.equal(await bed.ended(id), 'completed', JSON.stringify(run.statuses));
    t.ok((await bed.madeFor('killed', enqueuedAt)) >= 6);
    await bed.kill(second);
    await allDone(t, 'killed', 250);
    t.comment(`asked for again: ${site.asked.times - site.asked.pages} of 250 pages`);
  });

  t.test('a Worker that is killed and started again goes on with its run at once', async (t) => {
    bed.delayMs = 50;
    const timing = { lockMs: 300_000, beatMs: 10_000, pollMs: 100 };
    const { run, id } = await bed.enqueue('again', { actorConfig: bed.actor(100, { maxConcurrency: 2 }), containerCount: 2 });
    const home = bed.home('again');
    const first = bed.process('home', { timing }, home);
    await api.until(() => site.asked.pages > 40);
    await bed.kill(first);
    const second = bed.process('home', { timing }, home);
    t.equal(await bed.ended(id), 'completed', JSON.stringify(run.statuses));
    await bed.kill(second);
    await allDone(t, 'again', 100);
  });

  t.test('Redis is killed in the middle of a run and comes back', async (t) => {
    bed.delayMs = 30;
    const { run, id } = await bed.enqueue('redis', { actorConfig: bed.actor(100), containerCount: 2 });
    bed.worker('home', { timing: { beatMs: 100, pollMs: 100 } });
    await api.until(() => site.asked.pages > 40);
    await bed.redis.stop('kill');
    await after(500);
    await bed.redis.startAgain();
    t.equal(await bed.ended(id), 'completed', JSON.stringify(run.statuses));
    await allDone(t, 'redis', 100);
  });

  t.test('the command line, with the variables of dory-worker, from start to SIGTERM', async (t) => {
    const folder = t.testdir();
    const env = {
      ...lab.environment,
      API_BASE_URL: `http://localhost:${api.port}`,
      WORKER_API_KEY: 'dwk_a-key-for-tests',
      REDIS_HOST: '127.0.0.1',
      REDIS_PORT: String(bed.redis.port),
      CRAWLER_REDIS_URL: bed.crawlerRedisUrl,
      WORKER_ID: 'of-the-command-line',
      PEERWORK_SANDBOX: 'off',
      PEERWORK_DRAIN_MS: '500',
      PEERWORK_CONTAINER_NETWORK: bed.hosts.join(' '),
    };
    const program = new Program([], folder, { env, script: join(packageRoot, 'bin', 'dory-worker.js') });
    const { run, id } = await bed.enqueue('command', { actorConfig: bed.actor(10), containerCount: 2 });
    t.equal(await bed.ended(id), 'completed', `${JSON.stringify(run.statuses)}\n${program.text}`);
    await allDone(t, 'command', 10);
    t.match(api.beats.get('of-the-command-line')?.body, { maxConcurrentRuns: 2, label: 'of-the-command-line' });

    const slow = await bed.enqueue('slow', { actorConfig: {}, dockerImage: await imageOf('sleeper', 'sleep 60') });
    await until(async () => (await bed.containersOf('slow')).length > 0);
    program.signal('SIGTERM');
    t.match(await program.ended, { code: 0 });
    t.equal(await bed.queue.getJobState(slow.id), 'waiting', 'what took too long is given back');
    t.same(await bed.leftOf('slow'), []);
    t.match(api.beats.get('of-the-command-line')?.body, { status: 'stopping', activeRuns: [] });
    t.notMatch(program.text, /dwk_/);
  });
}
