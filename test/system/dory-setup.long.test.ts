import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Queue } from 'bullmq';
import { execa } from 'execa';
import t, { type Test } from 'tap';
import { HOST } from '../lab/crawl-bed.js';
import { insideDockerLab } from '../lab/docker.js';
import { Program, packageRoot } from '../lab/grid.js';
import { LabRedis, redisTools } from '../lab/redis.js';
import { findTool } from '../lab/require.js';
import { OwnersFolder } from '../lab/service.js';
import { Site } from '../lab/site.js';
import { FakeApi } from '../wires/dory/source/fake-api.js';

const lab = await insideDockerLab(t, import.meta.url, { ...redisTools, script: 'bsdutils' });
const script = join(packageRoot, 'bin', 'dory-worker.js');

/** The commands of a page, in order. */
function commandsOf(page: string): string[] {
  const text = readFileSync(join(packageRoot, page), 'utf8');
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)]
    .flatMap(([, block = '']) => block.split('\n'))
    .map((line) => line.replace(/\s+#.*$/, '').trim())
    .filter(Boolean);
}

/** From a machine without docker to a completed run, following the guide, with a real engine, queue and Redis. */
if (lab !== undefined) {
  const [api, redis] = [await FakeApi.start(), await LabRedis.start()];
  const site = await Site.start({ pages: 100 });
  const queue = new Queue('run-execution', { connection: { url: redis.url } });
  queue.on('error', () => {});
  t.teardown(() => Promise.all([queue.close(), api.close(), redis.close(), site.close()]));

  /** A machine without docker and podman, whose apt-get "installs" docker.io by making it appear. */
  function bareMachine(t: Test) {
    const folder = t.testdir({});
    const bin = join(folder, 'bin');
    mkdirSync(bin);
    for (const from of ['/usr/local/bin', '/usr/bin', '/bin', '/usr/sbin', '/sbin']) {
      if (!existsSync(from)) continue;
      for (const name of readdirSync(from))
        if (!/^(docker.*|podman.*|apt.*|systemctl|service|sudo|dory-worker|peerwork)$/.test(name) && !existsSync(join(bin, name)))
          symlinkSync(join(from, name), join(bin, name));
    }
    const called = join(folder, 'apt');
    const installs = `echo "$@" >> ${called}\n[ "$1" = install ] && ln -sf ${findTool('docker')} ${join(bin, 'docker')}\ntrue`;
    writeFileSync(join(bin, 'apt-get'), `#!/bin/sh\n${installs}\n`, { mode: 0o755 });
    symlinkSync(script, join(bin, 'dory-worker'));
    const env = {
      ...lab?.environment,
      PATH: bin,
      PEERWORK_SANDBOX: 'off',
      PEERWORK_KEEPER: 'background',
      PEERWORK_CONTAINER_NETWORK: `internet ${HOST}:${site.port}`,
    };
    const apt = () => (existsSync(called) ? readFileSync(called, 'utf8').trim().split('\n') : []);
    return { env, apt };
  }

  t.test('the guide for users of dory-worker leads from their machine to a run that is done', async (t) => {
    const { env, apt } = bareMachine(t);
    const owner = new OwnersFolder({ env, script });
    t.teardown(() => owner.close());
    // What dory-worker has left behind.
    const mine = [
      `API_BASE_URL=http://localhost:${api.port}`,
      'REDIS_HOST=127.0.0.1',
      `REDIS_PORT=${redis.port}`,
      `CRAWLER_REDIS_URL=redis://localhost:${redis.port}`,
      'MAX_CONCURRENT_RUNS=3',
      'WORKER_ID=attic',
      'GCS_BUCKET=of-old',
    ];
    writeFileSync(owner.file('.env'), `${mine.join('\n')}\n`);
    mkdirSync(owner.file('.dory'));
    const kept = { apiBaseUrl: `http://localhost:${api.port}`, apiKey: 'dwk_a-key-for-tests', username: 'ada', label: 'the attic' };
    writeFileSync(owner.file('.dory', 'credentials'), JSON.stringify(kept), { mode: 0o600 });

    const [install = '', ...lines] = commandsOf('docs/coming-from/dory-worker.md');
    t.equal(install, 'npm install -g peerwork');
    const said = new Map<string, string>();
    for (const line of lines) {
      const [program = '', ...words] = line.split(/\s+/);
      t.equal(program, 'dory-worker', line);
      const { code, stdout, stderr } = await owner.type(...words);
      said.set(line, stdout);
      t.equal(code, 0, `${line}\n${stdout}${stderr}`);
      if (words[0] !== 'status') continue;
      const run = api.addRun('guide', {
        ...{ actorConfig: { startUrls: [site.url('/page/0', HOST)], maxPages: 10 }, dockerImage: null },
        ...{ containerCount: 2, memoryLimitMb: 256, actorTimeoutSecs: 120 },
      });
      await queue.add('execute', { runId: 'guide' });
      await api.until(() => /completed|failed/.test(run.status), 'the run ends');
      t.match(run, { status: 'completed', exitCode: 0 }, JSON.stringify(run.statuses));
      t.equal(run.results.size, 10);
      t.match(api.beats.get('attic')?.body, { label: 'the attic', maxConcurrentRuns: 3 });
    }
    t.same(apt(), ['install --yes docker.io'], 'docker was installed, once');
    t.match(said.get('dory-worker whoami'), /user +ada/);
    t.match(
      said.get('dory-worker setup'),
      /ok +docker: docker .*\nok +\.env: .*\nok +image: dory-core:v2 .*was built under its name\n[\s\S]*ok +dory api[\s\S]*ok +dory redis[\s\S]*The Worker .* runs/,
    );
    t.match(said.get('dory-worker status'), /service +dory-worker, [\s\S]*works for +dory/);
    const dotenv = readFileSync(owner.file('.env'), 'utf8');
    for (const line of mine) t.ok(dotenv.includes(`${line}\n`), line);
    t.match(dotenv, /^DOCKER_IMAGE=dory-core:v2$/m);
    t.same(owner.processes(), [], 'and at the end nothing runs');
  });

  t.test('each variable of dory-worker acts', async (t) => {
    const locked = await LabRedis.start({ password: 'open sesame' });
    const others = new Queue('other-runs', { connection: { host: '127.0.0.1', port: locked.port, password: 'open sesame' } });
    others.on('error', () => {});
    t.teardown(() => Promise.all([others.close(), locked.close()]));
    const { env } = bareMachine(t);
    const shared = {
      ...env,
      ...{
        PATH: process.env['PATH'] ?? '',
        HOME: t.testdirName,
        API_BASE_URL: `http://localhost:${api.port}`,
        WORKER_API_KEY: 'dwk_a-key-for-tests',
      },
      ...{ CRAWLER_REDIS_URL: `redis://localhost:${redis.port}`, QUEUE_RUN_EXECUTION: 'other-runs', DOCKER_IMAGE: 'dory-core:v2' },
      ...{
        CONTAINER_COUNT: '2',
        MAX_CONCURRENT_RUNS: '7',
        LOG_LEVEL: 'warn',
        CONFIG_SOURCE: 'local',
        PEERWORK_HOME: join(t.testdirName, 'home'),
      },
    };
    const places: Record<string, Record<string, string>> = {
      parts: { REDIS_HOST: '127.0.0.1', REDIS_PORT: String(locked.port), REDIS_PASSWORD: 'open sesame' },
      url: { REDIS_URL: `redis://:open%20sesame@127.0.0.1:${locked.port}`, REDIS_HOST: '127.0.0.1', REDIS_PORT: '1' },
    };
    // Ignored, because the node is pinned.
    api.config = { maxConcurrentRuns: 1, containerCount: 5, dockerImage: 'no-such-image:1' };
    for (const [name, place] of Object.entries(places)) {
      const program = new Program([], t.testdirName, { script, env: { ...shared, ...place, WORKER_ID: `by-${name}` } });
      const run = api.addRun(name, {
        ...{ actorConfig: { startUrls: [site.url('/page/0', HOST)], maxPages: 10 }, dockerImage: null },
        ...{ memoryLimitMb: 256, actorTimeoutSecs: 60 },
      });
      await others.add('execute', { runId: name });
      await api.until(() => /completed|failed/.test(run.status) || !program.running, 'the run ends');
      t.match(run, { status: 'completed', coordinatorWorkerId: `by-${name}` }, `${JSON.stringify(run.statuses)}\n${program.text}`);
      t.match(api.beats.get(`by-${name}`)?.body, { maxConcurrentRuns: 7 });
      const client = redis.connect();
      const meta = await client.hgetall(`rq:${name}:meta`);
      client.disconnect();
      t.same(
        Object.keys(meta)
          .filter((field) => field.startsWith('h:'))
          .sort(),
        ['h:worker-1', 'h:worker-2'],
        'as many containers',
      );
      t.notMatch(program.text, / info /, 'no more is told than that');
      t.notMatch(program.text, /dwk_|sesame/);
      await program.stop();
    }
    api.config = undefined;
  });

  t.test('a step that fails says how to go on, and what is done stays', async (t) => {
    const { env, apt } = bareMachine(t);
    const owner = new OwnersFolder({ env: { ...env, API_BASE_URL: api.url, WORKER_API_KEY: 'dwk_a-key-for-tests' }, script });
    t.teardown(() => owner.close());
    const given = ['--dory-redis', redis.url, '--dory-max-runs', '1'];
    const without = await owner.type('setup', '--no-install', ...given);
    t.match(without, {
      code: 1,
      stdout: /fail {2}docker: .*\n +→ Install it, by `.*`, and then set-up again\.\nok +\.env: [\s\S]*was not started/,
    });
    t.same(apt(), []);
    t.match(readFileSync(owner.file('.env'), 'utf8'), /MAX_CONCURRENT_RUNS=1/);
    const wrong = await owner.type('setup', '--yes', '--dory-image', '127.0.0.1:1/nothing:here');
    t.match(wrong, { code: 1, stdout: /ok +docker: [\s\S]*fail {2}image: .*\n +→ Correct DOCKER_IMAGE[\s\S]*was not started/ });
    const dead = await owner.type('setup', '--dory-image', 'dory-core:v2', '--dory-redis', 'redis://127.0.0.1:1');
    t.match(dead, { code: 1, stdout: /ok +image: dory-core:v2 [\s\S]*fail +dory redis [\s\S]*→[\s\S]*`.*setup` continues from here/ });
    t.notOk(existsSync(owner.file('.peerwork', 'services')), 'no service came of it');
    t.match(await owner.type('setup', '--dory-redis', redis.url), {
      code: 0,
      stdout: /ok +image: dory-core:v2 is there[\s\S]* runs, kept by/,
    });
    t.match(await owner.type('uninstall', '--yes'), { code: 0 });
  });

  t.test('on a terminal it asks before it installs', async (t) => {
    const { env, apt } = bareMachine(t);
    const owner = new OwnersFolder({ env, script });
    t.teardown(() => owner.close());
    const terminal = execa('script', ['-qec', `${process.execPath} ${script} setup`, '/dev/null'], {
      ...{ cwd: owner.path, stdin: 'pipe', reject: false, timeout: 240_000 },
      env: { ...env, HOME: owner.path, API_BASE_URL: api.url, WORKER_API_KEY: 'dwk_a-key-for-tests', SHELL: '/bin/sh' },
    });
    let seen = '';
    let asked = false;
    terminal.stdout.on('data', (chunk) => {
      seen += String(chunk);
      if (asked || !seen.includes('Install docker.io by apt-get?')) return;
      asked = true;
      terminal.stdin.write('n\r');
    });
    // The questions for `.env` come next; Ctrl-C cancels them.
    const leave = setInterval(() => /REDIS|dory-api/.test(seen.slice(seen.indexOf('fail'))) && asked && terminal.stdin.write('\x03'), 500);
    const { exitCode } = await terminal;
    clearInterval(leave);
    t.ok(asked, seen);
    t.match(seen, /docker: it is not installed/);
    t.equal(exitCode, 130, seen);
    t.same(apt(), []);
    t.notOk(existsSync(owner.file('.env')));
  });
}
