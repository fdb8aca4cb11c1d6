// The whole product on one machine: a tracker on loopback, a Master in this process, and two Workers started as a user would start
// them. They paint the Mandelbrot set tile by tile into demo.png. Leaves nothing else behind.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { joinTiles } from '../assets/tasks/mandelbrot/join-tiles.js';
import { Master } from '../build/src/index.js';
import { TrackerServer } from '../build/src/swarm/tracker-server.node.js';

const GIVE_UP_MS = 120_000;
const WORKERS = ['attic', 'cellar'];

const root = dirname(dirname(fileURLToPath(import.meta.url)));
// `node scripts/demo.mjs FILE` writes the picture elsewhere.
const picture = resolve(process.argv[2] ?? join(root, 'demo.png'));
const startedAt = Date.now();
const scratch = mkdtempSync(join(tmpdir(), 'peerwork-demo-'));
const tracker = new TrackerServer();
const children = [];
const synced = [];
let master;

const say = (who, what) => console.log(`${((Date.now() - startedAt) / 1000).toFixed(1).padStart(5)} s  ${who.padEnd(8)} ${what}`);

function startWorker(name, token) {
  const home = join(scratch, name);
  mkdirSync(home);
  // The token is passed by environment, because arguments are visible in the process list. LOG_LEVEL=info is what a pipe shows
  // anyway.
  const env = { ...process.env, token, name, LOG_LEVEL: 'info', PEERWORK_CONCURRENCY: '1' };
  const child = spawn(process.execPath, [join(root, 'worker.js')], { cwd: home, env, stdio: ['ignore', 'pipe', 'inherit'] });
  child.ended = new Promise((resolve) => child.once('close', resolve));
  createInterface({ input: child.stdout }).on('line', (line) => hear(name, line));
  children.push(child);
}

/** Prints a worker's own log without its noisiest lines. */
function hear(name, line) {
  const event = line.replace(/^\d{4}-\S+ \w+ +/, '');
  if (/^task ready/.test(event)) synced.push(Number(/\bbytes=(\d+)/.exec(event)?.[1] ?? 0));
  if (!/^(job|result) id=|^Stopp/.test(event)) say(name, event);
}

function kill(signal) {
  for (const child of children) child.kill(signal);
}

async function stop() {
  await master?.close();
  kill('SIGTERM');
  const late = setTimeout(() => kill('SIGKILL'), 5_000);
  await Promise.all(children.map(({ ended }) => ended));
  clearTimeout(late);
  await tracker.close();
  rmSync(scratch, { recursive: true, force: true });
}

async function run() {
  await tracker.start(0, '127.0.0.1');
  say('tracker', `listens on ${tracker.url}`);
  const jobs = readFileSync(join(root, 'assets/tasks/mandelbrot.ndjson'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  master = new Master({
    task: join(root, 'assets/tasks/mandelbrot'),
    ledger: 'memory:',
    trackers: [tracker.url],
    name: 'demo',
    watch: false,
  });
  const connects = [];
  master.on('published', ({ files, bytes }) => say('master', `published the task mandelbrot: ${files} files, ${bytes} bytes`));
  master.on('connected', ({ name, path, connectMs }) => {
    connects.push(Math.round(connectMs));
    say('master', `${name} joined (${path}, ${Math.round(connectMs)} ms)`);
  });
  await master.push(jobs);
  say('master', `${jobs.length} jobs wait`);
  for (const name of WORKERS) startWorker(name, master.token);

  const outcomes = [];
  for await (const { job } of master.results()) {
    outcomes.push(job);
    const bar = `${'█'.repeat(outcomes.length)}${'░'.repeat(jobs.length - outcomes.length)}`;
    say('master', `${bar} ${job.id} by ${job.worker}: ${job.state}`);
    if (outcomes.length === jobs.length) break;
  }
  const failed = outcomes.filter(({ state }) => state !== 'completed');
  if (failed.length > 0) throw new Error(`${failed.length} jobs failed: ${failed[0].error?.message}`);
  writeFileSync(picture, joinTiles(outcomes.map(({ output }) => output)));
  summarise(outcomes, connects);
}

function summarise(outcomes, connects) {
  const firstAt = Math.min(...outcomes.map((job) => job.startedAt));
  const lastAt = Math.max(...outcomes.map((job) => job.finishedAt));
  const shares = WORKERS.map((name) => `${name} ${outcomes.filter(({ worker }) => worker === name).length}`);
  console.log(`
  jobs           ${outcomes.length} completed, none failed (${shares.join(', ')})
  rate           ${((outcomes.length * 1000) / (lastAt - firstAt)).toFixed(1)} jobs/s
  bytes synced   ${synced.reduce((sum, bytes) => sum + bytes, 0)} (${synced.join(' + ')}), each file verified by its SHA-256
  connect times  ${connects.join(' ms, ')} ms, over WebRTC with AES-256-GCM inside
  picture        ${relative(process.cwd(), picture)}
`);
}

function sayHowToGoOn() {
  console.log(`Now with another machine. Here, start a Master that stays:

  node bin/peerwork.js master --task assets/tasks/mandelbrot

It prints a token and finds its Workers through public trackers (\`peerwork tracker\` runs one of your own). There:

  git clone … && cd peerwork
  node worker.js --setup        # paste the token
  node worker.js
`);
}

const giveUp = setTimeout(() => {
  console.error(`demo: not done after ${GIVE_UP_MS / 1000} s`);
  kill('SIGKILL');
  rmSync(scratch, { recursive: true, force: true });
  process.exit(1);
}, GIVE_UP_MS);
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stop().finally(() => process.exit(130)));

try {
  await run();
} catch (error) {
  console.error(`demo: ${error.message}`);
  process.exitCode = 1;
}
await stop();
clearTimeout(giveUp);
if (!process.exitCode) sayHowToGoOn();
// Threads of the WebRTC engine may take a moment to end.
setTimeout(() => process.exit(), 1_000).unref();
