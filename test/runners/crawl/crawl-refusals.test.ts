import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import t, { type Test } from 'tap';
import { crawlBed, HOST, logLines, runCrawl } from '../../lab/crawl-bed.js';
import { insideDockerLab } from '../../lab/docker.js';
import { freePort } from '../../lab/free-port.js';
import { removeFolder } from '../../lab/remove-folder.js';

const lab = await insideDockerLab(t, import.meta.url);

if (lab !== undefined) {
  const made = async () => (await lab.docker('ps', '-aq')).split('\n').filter(Boolean);
  const taskOf = (t: Test, settings: object) => {
    const folder = mkdtempSync(join(tmpdir(), 'peerwork-task-'));
    t.teardown(() => removeFolder(folder));
    writeFileSync(join(folder, 'task.json'), JSON.stringify(settings));
    return { digest: '', folder, entry: 'task.json', readable: [folder] };
  };
  /** Builds an image that runs the given program on Node; the program may use the proxy socket. */
  const imageOf = async (name: string, program: string) => {
    const base = await lab.nodeImage();
    const folder = join(lab.folder, `image-${name}`);
    mkdirSync(folder);
    writeFileSync(join(folder, 'program.mjs'), program);
    const lines = [`FROM ${base}`, 'COPY program.mjs /program.mjs', 'LABEL peerwork.egress=proxy', 'ENTRYPOINT ["node", "/program.mjs"]'];
    writeFileSync(join(folder, 'Dockerfile'), `${lines.join('\n')}\n`);
    await lab.docker('build', '-q', '-t', `peerwork-test/${name}:1`, folder);
    return `peerwork-test/${name}:1`;
  };

  t.test('what cannot work is refused before any container starts', async (t) => {
    const { runner, start } = await crawlBed(t, lab, { allowedImages: ['peerwork-test/*', 'there-is-none'] });
    const actor = { startUrls: [start] };
    const redisUrl = `redis://localhost:${await freePort()}`;
    const failed = async (data: object, error: object) => {
      const { outcome } = await runCrawl(runner, { actor, ...data });
      t.match(outcome, { state: 'failed', error }, JSON.stringify(outcome).slice(0, 300));
    };
    await failed({ actor: { startUrls: ['file:///etc/passwd'] } }, { code: 'crawl-invalid', message: /actor\.startUrls\.0/ });
    await failed({ containers: 2 }, { code: 'crawl-redis-missing' });
    await failed({ containers: 5, redisUrl }, { code: 'container-limits' });
    await failed({ image: 'nobody/has:this' }, { code: 'image-refused' });
    await failed({ image: 'there-is-none:1' }, { code: 'image-missing', exitCode: 125 });
    await failed({ image: '--privileged' }, { code: 'container-invalid' });
    await failed({ containers: 2, redisUrl }, { code: 'crawl-redis-unreachable' });
    t.same(await made(), []);
  });

  t.test('the Redis that a task names is no way into the owner’s network', async (t) => {
    const { runner, start } = await crawlBed(t, lab);
    const task = taskOf(t, {
      runner: 'crawl',
      actor: { startUrls: [start] },
      containers: 2,
      redisUrl: `redis://localhost:${await freePort()}`,
    });
    const { outcome } = await runCrawl(runner, {}, { job: { data: null }, context: { workplace: task } });
    t.match(outcome, { state: 'failed', error: { code: 'crawl-redis-unreachable', message: /is refused: / } });
    t.same(await made(), []);
  });

  t.test('a task and its job make a crawl; its results come back', async (t) => {
    const { runner, start } = await crawlBed(t, lab);
    const task = taskOf(t, { runner: 'crawl', network: 'lan', actor: { startUrls: ['http://nobody.invalid/'], maxPages: 3 } });
    const { output, outcome } = await runCrawl(
      runner,
      {},
      { job: { data: { actor: { startUrls: [start] } } }, context: { workplace: task } },
    );
    t.match(output, { handled: 3, failed: 0 }, JSON.stringify(outcome).slice(0, 300));
  });

  t.test('another image has what dory’s has, and its exit code is the crawl’s', async (t) => {
    const { runner } = await crawlBed(t, lab);
    const program = `
      const { ACTOR_CONFIG, PEERWORK_PROXY_SOCKET, PATH, HOSTNAME, HOME, NODE_VERSION, ...env } = process.env;
      console.log(JSON.stringify({ ...env, config: JSON.parse(Buffer.from(ACTOR_CONFIG, 'base64')) }));
      process.exit(Number(env.RUN_ID));`;
    const image = await imageOf('env', program);
    const single = { runId: '0', image, actor: { any: 'thing' }, memoryMb: 128, api: { baseUrl: 'http://localhost:4500/x', key: 'dwk_1' } };
    const ran = await runCrawl(runner, single);
    t.match(ran.outcome, { state: 'completed' }, JSON.stringify(ran.outcome));
    t.same(JSON.parse(logLines(ran.reports)[0] ?? ''), {
      API_BASE_URL: `http://${HOST}:4500/x`,
      CRAWLEE_MEMORY_MBYTES: '128',
      RUN_ID: '0',
      WORKER_API_KEY: 'dwk_1',
      config: { any: 'thing', runId: '0' },
    });
    const { outcome } = await runCrawl(runner, { ...single, runId: '3' });
    t.match(outcome, { state: 'failed', error: { code: 'crawl-failed', exitCode: 3, message: /exit code 3 of worker-1/ } });
  });

  t.test('a hostile image: filling the disk, forking without end, eating memory, reading our files', async (t) => {
    const ceilings = {
      memoryMb: 128,
      defaultMemoryMb: 128,
      cpus: 1,
      pids: 64,
      diskMb: 4,
      network: { internet: true, hosts: [] },
      unfiltered: false,
    };
    const { runner } = await crawlBed(t, lab, { ceilings });
    const program = `
      import { appendFileSync, symlinkSync, writeFileSync, readdirSync } from 'node:fs';
      import { spawn, spawnSync } from 'node:child_process';
      const folder = process.env.PEERWORK_RESULTS;
      const { how } = JSON.parse(Buffer.from(process.env.ACTOR_CONFIG, 'base64'));
      if (how === 'disk') for (let file = 0; ; file += 1) { try { writeFileSync(folder + '/' + file, Buffer.alloc(1e6)); } catch {} await new Promise((r) => setTimeout(r, 5)); }
      if (how === 'file') for (;;) { appendFileSync(folder + '/a.ndjson', 'x'.repeat(1e5)); await new Promise((r) => setTimeout(r, 5)); }
      if (how === 'forks') { let refused = 0; for (let n = 0; n < 200; n += 1) spawn('sleep', ['100']).on('error', () => refused++); setTimeout(() => { console.log('refused', refused > 100); process.exit(0); }, 1000); }
      if (how === 'memory') { const all = []; for (;;) all.push(Buffer.alloc(1e7, 1)); }
      if (how === 'heap') process.exit(spawnSync(process.execPath, ['--max-old-space-size=16', '-e', 'const all = []; for (;;) all.push([all.length])'], { stdio: 'inherit' }).status ?? 134);
      if (how === 'link') { for (const path of ['/etc/shadow', '/proc/self/environ']) symlinkSync(path, folder + '/' + path.replaceAll('/', '_') + '.ndjson'); writeFileSync(folder + '/ok.ndjson', '{"requestId":"1"}\\n'); }
      if (how === 'socket') console.log(JSON.stringify(readdirSync('/run/peerwork')), readdirSync('/').includes('root'));`;
    const image = await imageOf('hostile', program);
    const run = (how: string) => runCrawl(runner, { image, actor: { how } });
    const full = { state: 'failed', error: { code: 'scratch-too-large', message: /more than 4 MiB/ }, retry: false };
    t.match((await run('disk')).outcome, full);
    t.match((await run('file')).outcome, { state: 'failed' });
    const forks = await run('forks');
    t.match(logLines(forks.reports).join(), /refused true/, JSON.stringify(forks.outcome));
    // Whether the engine has learnt the cause by then is up to the engine.
    t.match((await run('memory')).outcome, { state: 'failed', error: { code: /^(memory|crawl-failed)$/, exitCode: 137 } });
    t.match((await run('heap')).outcome, {
      state: 'failed',
      error: { code: 'memory', message: /: 128 MiB in container worker-1$/, exitCode: 134 },
    });
    const link = await run('link');
    t.match(link.output, { handled: 1, results: [{ requestId: '1' }] });
    t.match(logLines((await run('socket')).reports).join(), /\["proxy\.sock","results"\]/);
    await runner.close();
    t.same(await made(), []);
  });

  t.test('peerwork image builds it here, without a registry, and tells its name', async (t) => {
    const bin = new URL('../../../../bin/peerwork.js', import.meta.url).pathname;
    const peerwork = (...args: string[]) => execa(process.execPath, [bin, 'image', ...args], { env: lab.environment, reject: false });
    const built = await peerwork('--tag', 'dory-core:local');
    t.equal(built.exitCode, 0, built.stderr);
    t.match(built.stdout, /^peerwork-crawler:\d+\.\d+\.\d+-[0-9a-f]{8}$/);
    t.match(built.stderr, /packing Node .*\nbuilding peerwork-crawler/);
    const labels = await lab.docker('image', 'inspect', '--format', '{{json .Config}}', 'dory-core:local');
    t.match(JSON.parse(labels), { User: '1000:1000', Labels: { 'peerwork.egress': 'proxy' }, Entrypoint: ['node', '/app/crawler.mjs'] });
    t.notMatch(await lab.docker('image', 'ls'), /peerwork-crawler-base/, 'nothing else is left');
    await lab.docker('tag', 'dory-core:local', 'peerwork-crawler:0.0.1-01234567');
    const again = await peerwork('--base', await lab.nodeImage());
    t.equal(again.stdout, built.stdout);
    t.match(again.stderr, /removed 1 of earlier versions/);
    const impossible = await peerwork('--base', 'nobody/has:this');
    t.not(impossible.exitCode, 0);
    t.match(impossible.stderr, /image-unbuildable/);
  });
}
