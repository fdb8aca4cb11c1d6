import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Queue } from 'bullmq';
import t from 'tap';
import { findChromium } from '../lab/browser.js';
import { insideDockerLab } from '../lab/docker.js';
import { Grid } from '../lab/grid.js';
import { browserImages, crawleeImages } from '../lab/ordinary-images.js';
import { podmanTools } from '../lab/podman.js';
import { LabRedis, redisTools } from '../lab/redis.js';
import { Site } from '../lab/site.js';
import { until } from '../lab/until.js';
import { FakeApi } from '../wires/dory/source/fake-api.js';

const KEY = 'dwk_a-key-for-tests';
const lab = await insideDockerLab(t, import.meta.url, { ...redisTools, ...podmanTools, openssl: 'openssl' }, ['docker', 'podman']);

/** Images that know nothing about this worker, run through the command line for a dory-api as plain docker would run them. */
if (lab !== undefined) {
  const host = lab.engine === 'docker' ? 'host.docker.internal' : 'host.containers.internal';
  const writes = '<h1>heading</h1><script>document.body.append("a script " + "wrote this")</script>';
  const answer: NonNullable<Parameters<typeof Site.start>[0]['answer']> = ({ url }, response) => {
    if (url === '/script') response.setHeader('content-type', 'text/html').end(`<body>${writes}</body>`);
    return url === '/script';
  };
  const site = await Site.start({ pages: 12, host: '0.0.0.0', answer });
  const [keyFile, certFile] = [join(lab.folder, 'key.pem'), join(lab.folder, 'cert.pem')];
  const subject = ['-subj', `/CN=${host}`, '-days', '2'];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', ...subject, '-keyout', keyFile, '-out', certFile], {
    stdio: 'ignore',
  });
  const secure = createServer({ key: readFileSync(keyFile), cert: readFileSync(certFile) }, (_request, response) =>
    response.setHeader('content-type', 'text/html').end(`<body>${writes}</body>`),
  ).listen(0, '127.0.0.1');
  await new Promise((resolve) => secure.once('listening', resolve));
  const securePort = (secure.address() as AddressInfo).port;
  // The owner's LAN, and the metadata service of a cloud.
  for (const address of ['192.168.77.5', '169.254.169.254']) await lab.addMachine(address, [80]);
  const api = await FakeApi.start('0.0.0.0');
  const redis = await LabRedis.start();
  const queue = new Queue('run-execution', { connection: { url: redis.url } });
  queue.on('error', () => {});
  const grid = new Grid();
  t.teardown(async () => {
    await grid.close();
    await queue.close();
    await redis.close();
    await api.close();
    await site.close();
    secure.close();
    secure.closeAllConnections();
  });

  const start = (trusted: string, more: readonly string[] = []) =>
    grid.start(
      [
        ...['worker', '--name', 'home', '--containers', lab.engine, '--pull', 'never', '--concurrency', '2', ...more],
        ...['--container-network', `internet,${host}:${site.port},${host}:${securePort}`],
      ],
      {
        env: {
          ...lab.environment,
          ...{ API_BASE_URL: `http://localhost:${api.port}`, WORKER_API_KEY: KEY, REDIS_URL: redis.url, WORKER_ID: 'home' },
          ...(trusted !== '' && { PEERWORK_TRUSTED_IMAGES: trusted }),
        },
      },
    );
  const perform = async (runId: string, dockerImage: string, actorConfig: object, more: object = {}) => {
    const run = api.addRun(runId, { dockerImage, actorConfig, memoryLimitMb: 512, actorTimeoutSecs: 300, ...more });
    await queue.add('execute', { runId });
    await until(() => run.status === 'completed' || run.status === 'failed');
    // Its final status may arrive after the container's own.
    await until(() => run.statuses.some(({ fallback }) => fallback === true));
    return { run, last: run.statuses.at(-1) ?? {} };
  };
  const logsOf = async (...args: string[]) => {
    const program = grid.start(['logs', ...args]);
    const { code } = await program.ended;
    return { code, text: program.text };
  };
  const start0 = site.url('/page/0', host);

  t.test('a stock Crawlee image runs as under plain docker once it is named, as root and as its own user', async (t) => {
    const { asRoot, asUser } = await crawleeImages(lab);
    const worker = start('peerwork-test/crawlee');
    await worker.line(/dory/i);
    for (const [runId, image, uid] of [
      ['as-root', asRoot, 0],
      ['as-user', asUser, 1_000],
    ] as const) {
      const { run } = await perform(runId, image, { startUrls: [start0], maxPages: 12 });
      const { text, code } = await logsOf(runId);
      t.equal(run.status, 'completed', text);
      t.equal(run.results.size, 12);
      t.match(text, `user ${uid} key [secret]`, 'its own user, and what it printed is kept, but no key');
      t.match(text, /storage datasets key_value_stores request_queues 1[2-9]/, 'its storage is where it is by default');
      t.match(text, '(ended: completed)');
      t.equal(code, 0);
    }

    const failed = await perform('that-fails', asUser, { startUrls: [start0], maxPages: 2, exit: 5 });
    t.match(failed.last, { status: 'failed', exitCode: 5 });
    const lines = String(failed.last['log']).split('\n');
    t.match(lines.at(-1), 'line 60 before the end');
    t.equal(lines.length, 50, 'the API is told the last lines');

    const full = await perform('that-asks', asRoot, { startUrls: [start0], maxPages: 2 }, { memoryLimitMb: 1_000_000 });
    t.match(full.last, { status: 'failed', error: /1000000 MiB of memory for each container, allowed are \d+/ }, 'refused, not given less');
    const odd = await perform('that-is-odd', asRoot, { startUrls: [start0] }, { memoryLimitMb: '512' });
    t.match(odd.last, { status: 'failed', error: /memoryLimitMb: must be a whole number of MiB/ });

    t.match(await logsOf('as-'), { code: 2, text: /run-log-ambiguous/ });
    t.match(await logsOf('nobody'), { code: 2, text: /run-log-missing/ });
    t.match(await logsOf(), { code: 0, text: /as-root +crawl +1 [\s\S]*that-fails/ });
    await worker.stop();
  });

  t.test('a container that fills its disk fails its run, and its output can be followed', async (t) => {
    const { asRoot } = await crawleeImages(lab);
    const worker = start('peerwork-test/crawlee:root', ['--container-disk-mb', '16']);
    await worker.line(/dory/i);
    const ending = perform('that-writes', asRoot, { startUrls: [start0], maxPages: 2, fill: 200 });
    await until(async () => (await logsOf('--runs')).text.includes('that-writes'));
    const follower = grid.start(['logs', 'that-writes', '--follow']);
    const { last } = await ending;
    t.match(last, { status: 'failed', error: /more to disk than allowed/ });
    t.equal((await follower.ended).code, 0, 'it ends with its run');
    t.match(follower.text, /storage datasets[\s\S]*\(ended: .*more to disk than allowed/);
    await worker.stop();
  });

  t.test('an image that is not named has none of it', async (t) => {
    const { asRoot } = await crawleeImages(lab);
    const worker = start('peerwork-test/another');
    await worker.line(/dory/i);
    const { last } = await perform('untrusted', asRoot, { startUrls: [start0], maxPages: 2 });
    t.match(last, { status: 'failed' });
    t.match((await logsOf('untrusted')).text, /mkdir '\/app\/storage'/);
    await worker.stop();
  });

  t.test(
    'an image that starts a browser loads a page, and neither it nor the browser reaches further',
    { skip: !findChromium() },
    async (t) => {
      const { asRoot, asUser, proxied } = await browserImages(lab);
      const worker = start('peerwork-test/browser peerwork-test/browser-proxied');
      await worker.line(/dory/i);
      for (const [runId, image, url] of [
        ['browser-root', asRoot, site.url('/script', host)],
        ['browser-user', asUser, site.url('/script', host)],
        ['browser-proxied', proxied, `https://${host}:${securePort}/`],
      ] as const) {
        const { run } = await perform(runId, image, { startUrls: [url] }, { memoryLimitMb: 1_024 });
        t.equal(run.status, 'completed', (await logsOf(runId)).text);
        t.match((await logsOf(runId)).text, 'a script wrote this');
      }
      const gateway = lab.engine === 'docker' ? '172.17.0.1' : '10.88.0.1';
      const targets = [
        ...['192.168.77.5:80', '169.254.169.254:80', `198.18.0.1:${site.port}`, `${gateway}:${redis.port}`, `127.0.0.1:${site.port}`],
        ...[`${host}:${redis.port}`, `${host}:${site.port}`],
      ];
      for (const image of [asRoot, asUser, proxied]) {
        const runId = `no-further-${image.split(':')[0]?.slice(-7)}-${image === asRoot ? 'root' : 'user'}`;
        const { run } = await perform(runId, image, { startUrls: [''], targets }, { memoryLimitMb: 1_024 });
        t.equal(run.status, 'completed');
        const { text } = await logsOf(runId);
        const reached = [...text.matchAll(/reached (\S+)/g)].map(([, target]) => target);
        t.same(reached, image === proxied ? [] : [`${host}:${site.port}`], `what the owner allows, and nothing else: ${text}`);
      }
      const { run } = await perform('the-browser-no-further', asRoot, { startUrls: ['http://192.168.77.5/'] }, { memoryLimitMb: 1_024 });
      t.equal(run.exitCode, 3);
      t.notMatch((await logsOf('the-browser-no-further')).text, /hello from|wrote this/);
      await worker.stop();
      t.equal(await lab.docker('ps', '-aq'), '', 'no container is left');
    },
  );
}
