import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Master, PeerworkError, type RunnerSetup, type SettledJob, Worker } from '../../src/index.js';
import { createLog } from '../../src/log.js';
import { TrackerServer } from '../../src/swarm/tracker-server.node.js';
import { until } from '../lab/until.js';

async function setUp(t: Test, files: Readonly<Record<string, string>>) {
  const folder = t.testdir();
  const task = join(folder, 'task');
  mkdirSync(task);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(task, name), text);
  const tracker = new TrackerServer();
  await tracker.start(0, '127.0.0.1');
  t.teardown(() => tracker.close());
  const shared = { trackers: [tracker.url], ice: [], loglevel: 'error' } as const;
  const master = new Master({ ...shared, task, ledger: 'memory:', leaseMs: 3_000 });
  t.teardown(() => master.close());
  const join_ = (options: Partial<ConstructorParameters<typeof Worker>[0] & object> = {}) => {
    const worker = new Worker({ ...shared, token: master.token, home: join(folder, 'home'), ...options });
    t.teardown(() => worker.close());
    return worker;
  };
  return { folder, task, tracker, master, join: join_ };
}

t.test('map gives every input exactly one outcome, over several Workers in one process', async (t) => {
  const { master, join } = await setUp(t, { 'task.mjs': 'export default (data) => data * 2;' });
  const workers = [join({ name: 'one' }), join({ name: 'two' })];
  await Promise.all(workers.map((worker) => worker.ready));
  const inputs = Array.from({ length: 500 }, (_, at) => at);
  const seen: [number, unknown][] = [];
  for await (const { index, output } of master.map(inputs)) seen.push([index, output]);
  t.same(
    seen.sort(([a], [b]) => a - b),
    inputs.map((input) => [input, input * 2]),
  );
});

t.test('a listener that throws is reported, and every job is still settled and followed', async (t) => {
  const folder = t.testdir({ 'task.mjs': 'export default (data) => data * 2;' });
  const tracker = new TrackerServer();
  await tracker.start(0, '127.0.0.1');
  t.teardown(() => tracker.close());
  const lines: string[] = [];
  const log = createLog({ level: 'error', write: (line) => lines.push(line) });
  const shared = { trackers: [tracker.url], ice: [], log };
  const seen: unknown[] = [];
  const fail = (what: string) => () => {
    throw new TypeError(what);
  };
  const onResults = ({ jobID }: { jobID: unknown }) => {
    seen.push(jobID);
    throw new TypeError('in onResults');
  };
  const master = new Master({ ...shared, task: folder, ledger: 'memory:', onResults });
  t.teardown(() => master.close());
  const worker = new Worker({ ...shared, token: master.token, home: join(folder, 'home') });
  t.teardown(() => worker.close());
  master.on('settled', fail('in settled'));
  worker.on('job', fail('in job'));
  worker.on('result', fail('in result'));
  await worker.ready;
  await master.push([1, 2, 3].map((n) => ({ id: `n${n}`, data: n })));
  await until(() => seen.length === 3);
  t.equal((await master.counts()).completed, 3);
  await until(() => lines.length >= 12);
  t.ok(lines.every((line) => line.includes('code=listener-threw')));
  for (const where of [
    'settled: TypeError: in settled',
    'onResults: TypeError: in onResults',
    'job: TypeError: in job',
    'result: TypeError: in result',
  ])
    t.ok(
      lines.some((line) => line.includes(where)),
      where,
    );
});

t.test('a changed file reaches Workers before their next job; the running job finishes on its version', async (t) => {
  const version = (text: string) => `
    const { setTimeout } = require('node:timers/promises');
    module.exports = async (ms) => { await setTimeout(ms); return '${text}'; };`;
  const { master, task, join: joinWorker } = await setUp(t, { 'task.js': version('old') });
  const worker = joinWorker({ concurrency: 2 });
  await worker.ready;
  const settled: SettledJob[] = [];
  master.on('settled', (job) => settled.push(job));
  await master.push({ id: 'long', data: 1_500 });
  await new Promise((resolve) => worker.once('job', resolve));
  const published = new Promise((resolve) => master.once('published', resolve));
  writeFileSync(join(task, 'task.js'), version('new'));
  await published;
  await master.push({ id: 'next', data: 0 });
  await until(() => settled.length === 2);
  t.match(settled, [
    { id: 'next', output: 'new' },
    { id: 'long', output: 'old' },
  ]);
});

t.test('progress and log lines arrive live, before the outcome', async (t) => {
  const { master, join } = await setUp(t, {
    'task.mjs': `export default async (data, context) => {
      context.log('beginning with', data.name);
      context.progress(0.5);
      console.log('printed');
      await new Promise((resolve) => setTimeout(resolve, 500));
      return 'done';
    };`,
  });
  await join().ready;
  const seen: string[] = [];
  master.on('progress', ({ progress }) => seen.push(progress.kind === 'log' ? progress.line : String(progress.value)));
  master.on('settled', () => seen.push('settled'));
  await master.push({ data: { name: 'x' } });
  await until(() => seen.includes('settled'));
  t.same(new Set(seen.slice(0, -1)), new Set(['beginning with x', '0.5', 'printed']));
  t.equal(seen.at(-1), 'settled');
});

t.test('a running job is cancelled from the Master and its Worker takes the next', async (t) => {
  const { master, join } = await setUp(t, { 'task.mjs': "export default (data) => (data === 'hang' ? new Promise(() => {}) : data);" });
  const worker = join({ concurrency: 1 });
  await worker.ready;
  await master.push({ id: 'hanging', data: 'hang' });
  await new Promise((resolve) => worker.once('job', resolve));
  const settled: SettledJob[] = [];
  master.on('settled', (job) => settled.push(job));
  t.same(await master.cancel('hanging'), ['hanging']);
  await master.push({ id: 'next', data: 1 });
  await until(() => settled.length === 2);
  t.match(settled, [
    { id: 'hanging', state: 'cancelled' },
    { id: 'next', state: 'completed' },
  ]);
});

t.test("queue-xec's way: execAssets, pushNewJob, onResults, transferEncryptToken", async (t) => {
  const { folder, tracker } = await setUp(t, { 'task.mjs': 'export default () => 0;' });
  writeFileSync(
    join(folder, 'mine.js'),
    "module.exports = class Task { async run(job) { return 'did ' + job.id + ': ' + require('./lib.js')(job.data); } };",
  );
  writeFileSync(join(folder, 'lib.js'), 'module.exports = (text) => text.toUpperCase();');
  const transferEncryptToken = 'x'.repeat(32);
  const shared = { trackers: [tracker.url], ice: [], loglevel: 'error', transferEncryptToken } as const;
  const results: unknown[] = [];
  const master = new Master({
    ...shared,
    ledger: 'memory:',
    execAssets: {
      dependencies: [],
      files: [
        { masterPath: join(folder, 'mine.js'), name: 'task.js', workerPath: '/workplace/task.js' },
        { masterPath: join(folder, 'lib.js'), name: 'lib.js', workerPath: '/workplace/lib.js' },
      ],
    },
    onResults: (result) => results.push(result),
  });
  t.teardown(() => master.close());
  const worker = new Worker({ ...shared, token: master.token, home: join(folder, 'xec') });
  t.teardown(() => worker.close());
  await master.pushNewJob({ id: '7', data: 'hello' });
  await until(() => results.length === 1);
  t.match(results, [{ jobID: '7', data: 'did 7: HELLO', worker: { name: worker.name } }]);
});

t.test('a task for another runner goes to Workers that have it, with its settings; one they cannot open is left out', async (t) => {
  const { master, join } = await setUp(t, { 'task.json': JSON.stringify({ runner: 'shout', mark: '!' }), 'words.txt': 'hello' });
  const shout: RunnerSetup = {
    kind: 'shout',
    open: async () => ({
      kind: 'shout',
      isolation: 'none',
      run: async ({ data }, { workplace }) => {
        const read = (name: string) => readFileSync(`${workplace?.folder}/${name}`, 'utf8');
        const { mark } = JSON.parse(read(workplace?.entry ?? '')) as { mark: string };
        return { state: 'completed', output: `${read('words.txt')} ${data}${mark}`.toUpperCase() };
      },
      close: async () => {},
    }),
  };
  const missing: RunnerSetup = { kind: 'missing', open: () => Promise.reject(new PeerworkError('runner-missing', 'missing')) };
  const plain = join({ name: 'plain', runners: [missing] });
  await plain.ready;
  t.same(
    plain.status().runners.map(({ kind }) => kind),
    ['task-module'],
  );
  const outcome = master.map(['world']).next();
  const able = join({ name: 'able', runners: [shout] });
  await able.ready;
  t.match((await outcome).value, { state: 'completed', output: 'HELLO WORLD!', worker: 'able' });
  const unable = join({ name: 'unable', runners: [{ ...missing, required: true }] });
  await t.rejects(unable.ready, { code: 'runner-missing' }, 'unless it is required');
});
