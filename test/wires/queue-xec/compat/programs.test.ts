import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { packageRoot } from '../../../lab/grid.js';
import { foreigners, KEY, TOKEN } from '../../../lab/queue-xec/foreign.js';
import { removeFolder } from '../../../lab/remove-folder.js';
import { requireTools } from '../../../lab/require.js';
import { until } from '../../../lab/until.js';

const ENV = `# as set-up writes it\ntoken=${TOKEN}\ntransferEncryptToken=${KEY}\n`;

const TASK = `
const { greet } = require('./Greeting.js');
class Task {
  constructor() { this.data = null; }
  async run(job) {
    this.data = JSON.parse(job.data);
    return { id: job.id, is: typeof job.id, sum: this.data.x + this.data.y, said: greet(), extra: job.extra };
  }
}
module.exports = Task;
`;

/** Written according to queue-xec's documentation, with only the names of its packages changed. */
const MASTER = `
const Master = require('peerwork/queue-xec/master');
function resultCollect(result) {
  console.log('result ' + JSON.stringify(result));
}
async function run() {
  const mm = new Master({
    onResults: resultCollect,
    execAssets: {
      dependencies: [],
      files: [
        { masterPath: '/src/task.js', name: 'task.js', workerPath: '/workplace/task.js' },
        { masterPath: '/src/Greeting.js', name: 'Greeting.js', workerPath: '/workplace/Greeting.js' },
        { masterPath: '/src/Missing.js', name: 'Missing.js', workerPath: '/workplace/Missing.js' },
      ],
    },
  });
  for (let id = 0; id < 5; id++) await mm.pushNewJob({ id, data: JSON.stringify({ x: 1, y: 2 }), extra: 'mine' }).catch((e) => console.log(e));
}
run();
`;
const WORKER = `
const Worker = require('peerwork/queue-xec/worker');
const work1 = new Worker({
  token: process.env.token,
  name: 'worker_1',
  loglevel: 'info',
  transferEncryptToken: null,
});
work1.requestWork();
`;

/** Programs in a network namespace in which multicast works, and nothing else is reachable. */
function world(t: Test) {
  const netns = `pwqp-${process.pid}`;
  execFileSync('ip', ['netns', 'add', netns]);
  const folder = mkdtempSync(join(tmpdir(), 'peerwork-programs-'));
  const started: ChildProcess[] = [];
  const end = async (child: ChildProcess) => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
  t.teardown(async () => {
    await Promise.all(started.map(end));
    execFileSync('ip', ['netns', 'delete', netns]);
    await removeFolder(folder);
  });
  execFileSync('ip', ['-n', netns, '-batch', '-'], {
    input:
      'link set lo up\nlink add eth0 type veth peer name eth1\nlink set eth1 up\naddr add 203.0.113.1/24 dev eth0\nlink set eth0 up\nroute add 224.0.0.0/4 dev eth0\n',
  });
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(packageRoot, join(folder, 'node_modules', 'peerwork'), 'dir');
  const write = (files: Readonly<Record<string, string>>) => {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), text);
    }
  };
  const start = (program: string) => {
    const lines: string[] = [];
    const { token: _, transferEncryptToken: __, LOG_LEVEL: ___, ...env } = process.env;
    const cwd = dirname(join(folder, program));
    const words = ['netns', 'exec', netns, process.execPath, join(folder, program)];
    const child = spawn('ip', words, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    started.push(child);
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => lines.push(...text.split('\n').filter((line) => line !== '')));
    const results = () =>
      lines.filter((line) => line.startsWith('result ')).map((line) => JSON.parse(line.slice('result '.length)) as object);
    return { lines, results, end: () => end(child), running: () => child.exitCode === null && child.signalCode === null };
  };
  return { netns, folder, write, start };
}

t.test("the programs of queue-xec's documentation run as they stand", async (t) => {
  if (!requireTools(t, { ip: 'iproute2' }, { root: true })) return;
  const { write, start, netns } = world(t);
  write({
    ...{ 'master/.env': ENV, 'master/main.cjs': MASTER, 'master/src/task.js': TASK },
    'master/src/Greeting.js': "exports.greet = () => 'hello';\n",
    ...{ 'worker/.env': ENV, 'worker/main.cjs': WORKER },
  });
  const first = start('master/main.cjs');
  const worker = start('worker/main.cjs');
  await until(() => first.results().length === 5);
  const expected = [0, 1, 2, 3, 4].map((id) => ({
    jobID: id,
    data: { id, is: 'number', sum: 3, said: 'hello', extra: 'mine' },
    worker: { name: 'worker_1' },
  }));
  const byId = (results: readonly object[]) => [...results].sort((a, b) => (a as { jobID: number }).jobID - (b as { jobID: number }).jobID);
  t.match(byId(first.results()), expected);
  t.match(first.lines.join('\n'), /left out.*Missing\.js/, 'a file that is not there is said, and stops nothing');
  t.notMatch([...first.lines, ...worker.lines].join('\n'), KEY, 'no secret is shown');
  await first.end();

  const second = start('master/main.cjs');
  await until(() => second.results().length === 5);
  t.match(byId(second.results()), expected, 'what it counts anew in its second run is new work');
  await second.end();
  t.ok(worker.running());

  // The same Worker with a Master on queue-xec's own library.
  const { start: startForeign } = foreigners(t);
  const files = [
    { name: 'task.js', workerPath: '/workplace/task.js', text: 'module.exports = class { async run(job) { return job.id; } };' },
  ];
  const foreign = await startForeign('foreign-master.js', { files, lsd: true }, undefined, netns);
  foreign.tell({ push: [{ id: 7, data: '{}' }] });
  await until(() => foreign.results.length === 1);
  t.match(foreign.results, [{ jobID: 7, worker: { name: 'worker_1' }, data: 7 }]);
});

t.test('as an ES module, both in one process, and from the package itself', async (t) => {
  if (!requireTools(t, { ip: 'iproute2' }, { root: true })) return;
  const { write, start } = world(t);
  const task = 'module.exports = class { async run(job) { return { of: job.id, extra: job.extra }; } };\n';
  const files = "execAssets: { files: [{ masterPath: '/task.js', name: 'task.js', workerPath: '/workplace/task.js' }] }";
  write({
    ...{ 'both/.env': ENV, 'both/task.js': task, 'plain/task.js': task },
    'both/main.mjs': `
      import Master, { Worker, Logger, Helper, Crypt } from 'peerwork/queue-xec';
      import { createRequire } from 'node:module';
      const required = createRequire(import.meta.url)('peerwork/queue-xec');
      console.log('same', required === Master, required.Worker === Worker, new Logger({ level: 'off' }).level, Helper.mesurePerf(), new Crypt(process.env.transferEncryptToken).getKey().length);
      const master = new Master({ ${files}, token: null, transferEncryptToken: null, onResults: (result) => console.log('result ' + JSON.stringify(result)) });
      const worker = new Worker({ transferEncryptToken: null });
      await master.pushNewJob(JSON.stringify({ id: { any: ['JSON'] }, extra: 1 }));
      await master.pushNewJob('{"id":null}');
    `,
    // The main package instead of the subpath: our own classes given such a program.
    'plain/main.cjs': `
      const { Master, Worker } = require('peerwork');
      const master = new Master({ ${files}, token: null, transferEncryptToken: null, ledger: 'memory:', loglevel: 'info', trackers: [process.env.TRACKER ?? 'ws://203.0.113.1:8481'], ice: [],
        onResults: (result) => console.log('result ' + JSON.stringify(result)) });
      new Worker({ token: master.token, transferEncryptToken: null, trackers: ['ws://203.0.113.1:8481'], ice: [] });
      for (let id = 0; id < 3; id++) master.pushNewJob({ id, data: JSON.stringify({ x: id }), extra: 'mine' }).catch(console.log);
    `,
    'plain/tracker.mjs': `
      import { TrackerServer } from ${JSON.stringify(join(packageRoot, 'build/src/swarm/tracker-server.node.js'))};
      await new TrackerServer().start(8481, '203.0.113.1');
      setInterval(() => {}, 1e6);
    `,
  });
  const both = start('both/main.mjs');
  start('plain/tracker.mjs');
  const plain = start('plain/main.cjs');
  await until(() => both.results().length === 2 && plain.results().length === 3);
  t.match(both.lines, [/^same true true 0 -1 32$/]);
  t.match(
    new Set(both.results().map((result) => JSON.stringify((result as { jobID: unknown }).jobID))),
    new Set(['{"any":["JSON"]}', 'null']),
  );
  t.match(new Set(plain.results().map((result) => (result as { jobID: unknown }).jobID)), new Set([0, 1, 2]));
  t.match(plain.results()[0], { data: { extra: 'mine' } });
});

t.test('the guide, followed to its end', async (t) => {
  if (!requireTools(t, { ip: 'iproute2' }, { root: true })) return;
  const { write, start } = world(t);
  const guide = readFileSync(join(packageRoot, 'docs/coming-from/queue-xec.md'), 'utf8');
  const [env = '', task = '', master = '', worker = ''] = [...guide.matchAll(/^```(?:text|js)\n([\s\S]*?)^```$/gm)].map(
    ([, text = '']) => text,
  );
  write({ 'one/.env': env, 'one/src/task.js': task, 'one/master.cjs': master, 'two/.env': env, 'two/worker.cjs': worker });
  const masterProgram = start('one/master.cjs');
  start('two/worker.cjs');
  const results = () => masterProgram.lines.filter((line) => /^\d+ \{/.test(line)).sort();
  await until(() => results().length === 5);
  t.same(
    results(),
    [0, 1, 2, 3, 4].map((id) => `${id} { id: ${id}, sum: ${id + 2} }`),
  );
});
