import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { CrawlOutput } from '../../src/job/crawl.js';
import { dockerTools, LabDocker } from '../lab/docker.js';
import { Grid, packageRoot } from '../lab/grid.js';
import { LabProcess } from '../lab/lab-process.js';
import { NatLab, serverAddress } from '../lab/nat-lab.js';
import { redisTools } from '../lab/redis.js';
import { requireTools } from '../lab/require.js';
import { startTurnServer, turnLabTools } from '../lab/turn-server.js';

const PAGES = 40;
const SITE_PORT = 8_080;
/** Asks the server behind the tunnel for its time of day, and sets a key there. */
const ASKS_REDIS = `
const { connect } = require('node:net');
const { writeFileSync } = require('node:fs');
const socket = connect(process.env.PEERWORK_TUNNEL);
let text = '';
socket.on('data', (bytes) => {
  text += bytes;
  if (text.split('\\r\\n').length < 4) return;
  writeFileSync('/peerwork/out/result.json', JSON.stringify(text.split('\\r\\n').slice(0, 3)));
  process.exit(0);
});
socket.on('error', (error) => { console.error(error.message); process.exit(1); });
socket.write('SET from-a-container yes\\r\\nECHO hello\\r\\n');
`;

// A Master and its Redis behind one router, a Worker behind another, the website between them, and the engine next to the Worker.
t.test('"tunnel" in task.json, by the documented commands, across routers', async (t) => {
  if (!requireTools(t, { ...turnLabTools, ...dockerTools, ...redisTools, 'redis-cli': 'redis-tools' }, { root: true })) return;
  const [docker, lab] = await Promise.all([LabDocker.start(), NatLab.open()]);
  const grid = new Grid();
  t.teardown(async () => {
    await grid.close();
    await Promise.all([docker.close(), lab.close()]);
  });
  const image = await docker.nodeImage();
  const { stun } = await startTurnServer(lab);
  const inside = (host: string) => ({ prefix: ['ip', 'netns', 'exec', lab.namespace(host)] });
  lab.spawn('a1', 'redis-server', ['--bind', '127.0.0.1', '--save', '', '--dir', lab.folder], { quiet: true }).stdout?.resume();
  const site = new LabProcess(lab, 'inet', fileURLToPath(new URL('../lab/site-process.js', import.meta.url)));
  await site.call('start', { pages: PAGES, host: serverAddress, port: SITE_PORT, delayMs: 20 });

  const task = (name: string, settings: object, files: Readonly<Record<string, string>> = {}) => {
    mkdirSync(join(grid.folder, name));
    writeFileSync(join(grid.folder, name, 'task.json'), JSON.stringify({ tunnel: 'redis', ...settings }));
    for (const [file, text] of Object.entries(files)) writeFileSync(join(grid.folder, name, file), text);
  };
  const actor = { startUrls: [`http://${serverAddress}:${SITE_PORT}/page/0`], extract: { heading: 'h1' } };
  task('my-crawl', { runner: 'crawl', network: 'lan', containers: 2, actor });
  task('ask', { runner: 'container', image, command: ['node', '/peerwork/task/ask.cjs'], network: 'none' }, { 'ask.cjs': ASKS_REDIS });
  const jobs = [
    { id: 'two', channel: 'crawl', data: null },
    { id: 'three', channel: 'crawl', data: { containers: 3 } },
    { id: 'ask', channel: 'ask', data: null },
  ];
  writeFileSync(join(grid.folder, 'jobs.ndjson'), jobs.map((job) => `${JSON.stringify({ attempts: 1, ...job })}\n`).join(''));

  await grid.tracker(80, { ...inside('inet'), host: serverAddress });
  const tasks = ['--task', 'crawl=my-crawl', '--task', 'ask=ask', '--tunnel', 'redis=127.0.0.1:6379'];
  const files = ['--input', 'jobs.ndjson', '--output', 'results.ndjson', '--ledger', 'memory:'];
  const { program, token } = await grid.master([...tasks, ...files, '--ice', stun], inside('a1'));
  mkdirSync(join(grid.folder, 'far'));
  const worker = grid.start(
    ['--name', 'far', '--concurrency', '1', '--pull', 'never', '--container-network', `internet,${serverAddress}:${SITE_PORT}`],
    {
      ...inside('b1'),
      script: join(packageRoot, 'worker.js'),
      cwd: join(grid.folder, 'far'),
      env: { token, ...docker.environment },
    },
  );
  const { code } = await program.ended;
  t.equal(code, 0, `${program.text.slice(-2_000)}\n${worker.text.slice(-2_000)}`);
  const outcomes = new Map(grid.outcomes('results.ndjson').map((outcome) => [outcome.id, outcome]));
  for (const [id, containers] of [
    ['two', 2],
    ['three', 3],
  ] as const) {
    const output = outcomes.get(id)?.output as unknown as CrawlOutput;
    t.match(output, { exitCode: 0, handled: PAGES, failed: 0 }, id);
    t.equal(new Set((output.results as { url: string }[]).map(({ url }) => url)).size, PAGES);
    t.equal(output.containers.length, containers);
    for (const { id: name, handled } of output.containers) t.ok(handled > 0, `${name} has its part of ${id}`);
  }
  t.same(await site.call('asked'), { pages: PAGES, times: 2 * PAGES }, 'each page once a crawl');
  t.match(outcomes.get('ask'), { state: 'completed', output: { exitCode: 0, result: ['+OK', '$5', 'hello'] } });
  t.equal((await lab.run('a1', 'redis-cli', ['KEYS', '*'])).trim(), 'from-a-container', 'the crawls leave nothing there');
  await worker.stop();
  t.equal(await docker.docker('ps', '-aq'), '', 'no container is left');
  await site.close();
});
