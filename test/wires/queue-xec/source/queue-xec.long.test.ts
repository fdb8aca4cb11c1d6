import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Clock, systemClock } from '../../../../src/clock.js';
import { silentLog } from '../../../../src/log.js';
import type { RoomHandler } from '../../../../src/wires/queue-xec/protocol/calls.js';
import { Room } from '../../../../src/wires/queue-xec/protocol/room.js';
import { parseJson, sha256Of, TransferKey } from '../../../../src/wires/queue-xec/protocol/transfer.js';
import { queueXecSource } from '../../../../src/wires/queue-xec/source/setup.js';
import { type Foreign, foreigners, KEY, TOKEN } from '../../../lab/queue-xec/foreign.js';
import { until } from '../../../lab/until.js';
import { FILES, jobs, TASK, workerOf } from './fixtures.js';

const ids = ({ results }: Foreign) => new Set(results.map(({ jobID }) => jobID));

t.test('a Worker does the jobs of a queue-xec Master, 300 of them', async (t) => {
  const { start } = foreigners(t);
  const master = await start('foreign-master.js', { files: FILES });
  workerOf(t, master.port);
  master.tell({ push: jobs(300) });
  const startedAt = Date.now();
  await until(() => ids(master).size === 300);
  t.comment(`${Math.round(300_000 / (Date.now() - startedAt))} jobs/s`);
  t.equal(master.results.length, 300, 'each once');
  const data = { got: { n: 7 }, by: 'lib', id: 7 };
  t.same(
    master.results.find(({ jobID }) => jobID === 7),
    { jobID: 7, worker: { name: 'ours' }, data },
    'its id comes back as it was, a number',
  );
  master.tell({ push: [{ id: 'late', url: 'x' }] });
  await until(() => ids(master).has('late'));
  t.match(master.results.at(-1), { data: { got: { url: 'x' } } }, 'a payload without data is handed on as it is');
});

const ECHO = {
  name: 'task.js',
  workerPath: '/workplace/task.js',
  text: 'module.exports = class { async run(job) { return { job, is: typeof job }; } };',
};

t.test('a task sees what was pushed as it was pushed', async (t) => {
  const { start } = foreigners(t);
  const master = await start('foreign-master.js', { files: [ECHO] });
  workerOf(t, master.port);
  const deep = { id: { n: [1, 'x'] }, data: { list: [] }, channel: 'mine', extra: null };
  const payloads = [5, 'text', [1, 2], { id: 5, data: 5 }, deep, { data: 'no id' }, { id: null }, { id: 'x'.repeat(500) }];
  master.tell({ push: payloads });
  await until(() => master.results.length === payloads.length);
  const seen = new Map(master.results.map(({ jobID, data }) => [JSON.stringify((data as { job: unknown }).job), { jobID, data }]));
  const of = (payload: unknown) => seen.get(JSON.stringify(payload));
  t.match(of(5), { jobID: undefined, data: { is: 'number' } });
  t.match(of('text'), { data: { is: 'string' } });
  t.ok(of([1, 2]));
  const ours = { attempt: 1, parents: [] };
  const result = (id: unknown) => master.results.find(({ jobID }) => JSON.stringify(jobID) === JSON.stringify(id))?.data;
  t.same(result(5), { job: { ...ours, id: 5, data: 5, channel: 'queue-xec' }, is: 'object' }, 'a number is a number');
  t.same(result(deep.id), { job: { ...ours, ...deep }, is: 'object' }, 'an object is an object, and its own fields go before ours');
  t.match(result(null), { job: { id: null } });
  t.match(result('x'.repeat(500)), { job: { id: 'x'.repeat(500) } });
  const nameless = master.results.find(({ data }) => (data as { job: { data?: unknown } }).job.data === 'no id');
  t.notOk(nameless && 'jobID' in nameless, 'what had no id gets none');
  t.match(nameless, { data: { job: { id: /^queue-xec-\d+$/ } } }, 'but the task is told one');
});

t.test('a task that throws, rejects or returns a plain value stops nothing', async (t) => {
  const { start } = foreigners(t);
  const text = TASK.replace('async run', 'run').replaceAll('await new Promise', 'void new Promise');
  const master = await start('foreign-master.js', { files: [{ ...FILES[0], text }, FILES[1]] });
  const { worker } = workerOf(t, master.port);
  master.tell({
    push: [{ id: 'throws', data: '{"fail":1}' }, { id: 'bad', data: 'no JSON' }, { id: 'plain', data: '{"plain":5}' }, ...jobs(5)],
  });
  await until(() => ids(master).size === 8);
  const of = (id: string) => master.results.find(({ jobID }) => jobID === id)?.data;
  t.match(of('throws'), { error: { code: 'task-threw', message: /this one fails/ } }, 'after three attempts');
  t.match(of('bad'), { error: { code: 'task-threw' } });
  t.equal(of('plain'), 5);
  t.equal(worker.status().running, 0);
});

t.test('the Master is killed and started anew in the middle of a job', async (t) => {
  const { start } = foreigners(t);
  const first = await start('foreign-master.js', { files: FILES });
  const { worker } = workerOf(t, first.port, { concurrency: 2 });
  first.tell({ push: jobs(2, { ms: 1_000 }) });
  // Both jobs must have arrived: a job in flight would be lost by the kill.
  await until(() => worker.status().running === 2);
  const { port } = first;
  await first.kill();
  const second = await start('foreign-master.js', { files: FILES, port });
  second.tell({ push: [{ id: 'new', data: '{}' }] });
  await until(() => ids(second).size === 3);
  t.same(first.results, [], 'what the first one handed out was done, and the second one has it');
});

t.test('what was handed out is done even if the Worker stops in between', async (t) => {
  const { start } = foreigners(t);
  const master = await start('foreign-master.js', { files: FILES });
  const before = workerOf(t, master.port, { concurrency: 6 });
  master.tell({ push: jobs(7, { ms: 5_000 }) });
  await until(() => before.worker.status().running > 1);
  await before.worker.close();
  t.ok(readdirSync(join(before.home, 'workers', '1', 'sources', 'queue-xec', 'backlog')).length > 1, 'what it holds lies on its disk');
  workerOf(t, master.port, { concurrency: 8, home: before.home });
  await until(() => ids(master).size === 7);
  await until(() => readdirSync(join(before.home, 'workers', '1', 'sources', 'queue-xec', 'backlog')).length === 0);
});

t.test('drain: what runs ends, and its result arrives', async (t) => {
  const { start } = foreigners(t);
  const master = await start('foreign-master.js', { files: FILES });
  const { worker } = workerOf(t, master.port, { concurrency: 2 });
  master.tell({ push: jobs(2, { ms: 500 }) });
  await until(() => worker.status().running === 2);
  await worker.drain();
  await until(() => ids(master).size === 2);
  t.equal(worker.status().outbox, 0);
});

t.test('another transfer key: said, and nothing is done', async (t) => {
  const { start } = foreigners(t);
  const master = await start('foreign-master.js', { files: FILES });
  const { warnings } = workerOf(t, master.port, { transferEncryptToken: 'f'.repeat(32) });
  master.tell({ push: jobs(2) });
  await until(() => warnings.length > 0);
  t.match(warnings[0], { code: 'queue-xec-key' });
  t.equal(master.handedOut, 0, 'no job is taken that could not be read');
  t.throws(() => queueXecSource({ token: TOKEN, transferEncryptToken: 'short' }), { code: 'option-invalid' });
});

/** A member that has the token and claims to be the Master. */
async function impostor(t: Test, answers: Readonly<Record<string, unknown>>) {
  const requests: string[] = [];
  const serve = new Map<string, RoomHandler>(
    ['isMaster', 'requestExecAssets', 'requestWork', 'shareResults', 'ping'].map((name) => [
      name,
      async () => {
        requests.push(name);
        return name === 'isMaster' ? { isMaster: 'yes' } : answers[name];
      },
    ]),
  );
  const room = new Room({ token: TOKEN, serve, clock: systemClock, log: silentLog, listen: { host: '127.0.0.1' }, lsd: false, dht: false });
  await room.start();
  t.teardown(() => room.close());
  return { room, requests };
}

t.test('whoever has the token only is not believed to be the Master', async (t) => {
  const sealed = new TransferKey('e'.repeat(32)).seal('module.exports = 1');
  const file = { name: 'task.js', workerPath: '/workplace/task.js', sha256: 'a'.repeat(64), content: sealed };
  for (const answer of [
    { status: 'same', files: [] },
    { status: 'changed', files: [file] },
    'nonsense',
    { status: 'changed', files: [{}] },
  ]) {
    const { room, requests } = await impostor(t, { requestExecAssets: answer });
    const { worker, warnings } = workerOf(t, room.port);
    await until(() => warnings.length > 0);
    t.match(warnings[0]?.code, /^queue-xec-(key|assets)$/);
    t.notOk(requests.includes('requestWork'));
    await worker.close();
    await room.close();
  }
});

t.test('a Master cannot write beside the workplace, whatever paths it names', async (t) => {
  const { start, folder } = foreigners(t);
  const files = [{ ...FILES[0], workerPath: '/workplace/../../../escaped/task.js' }];
  const master = await start('foreign-master.js', { files });
  const { warnings, home } = workerOf(t, master.port);
  await until(() => warnings.length > 0);
  t.match(warnings[0], { code: 'asset-path-unsafe' });
  t.notOk([folder, home, join(home, '..')].some((place) => existsSync(join(place, 'escaped'))));
});

/** A clock whose timers run ten times as fast. */
const fastClock: Clock = { ...systemClock, after: (ms, action, options) => systemClock.after(ms / 10, action, options) };

t.test('a result that the Master does not confirm is sent again over a new link, and a Master that hangs is left', async (t) => {
  const key = new TransferKey(KEY);
  const task = 'module.exports = class { async run(job) { return job.data; } };\n';
  const content = key.seal(task);
  const file = { name: 'task.js', workerPath: '/workplace/task.js', sha256: sha256Of(task), content };
  const replies = [{ task: JSON.stringify(key.seal('{"id":5,"data":1}')) }];
  const shared: unknown[] = [];
  let hangs = true;
  const links = new Set<string>();
  const serve = new Map<string, RoomHandler>([
    ['isMaster', async (from) => ({ isMaster: 'yes', from: links.add(from).size })],
    ['requestExecAssets', async () => ({ status: 'changed', dependencies: [], files: [file] })],
    // While it hangs, it replies neither to this nor to a ping.
    ['requestWork', async () => replies.shift() ?? (hangs ? undefined : { task: null })],
    ['ping', async () => (hangs ? undefined : {})],
    ['shareResults', async (_from, args) => (shared.push(parseJson(key.openText(args) ?? '')) > 1 ? { ok: true } : undefined)],
  ]);
  const ends: string[] = [];
  const meeting = { listen: { host: '127.0.0.1' }, lsd: false, dht: false } as const;
  const room = new Room({ token: TOKEN, serve, clock: systemClock, log: silentLog, ...meeting, onGone: (address) => ends.push(address) });
  await room.start();
  t.teardown(() => room.close());
  const { worker } = workerOf(t, room.port, { clock: fastClock });
  await until(() => shared.length > 1);
  t.ok(ends.length > 0, 'the link was ended');
  const result = { jobID: 5, worker: { name: 'ours' }, data: 1 };
  t.same(shared.slice(0, 2), [result, result]);
  await until(() => worker.status().outbox === 0);
  const before = ends.length;
  await until(() => ends.length > before);
  t.pass('a request for work that is never answered ends the link too');
  hangs = false;
  replies.push({ task: JSON.stringify(key.seal('{"id":6,"data":1}')) });
  await until(() => shared.length > 2);
});

t.test('answers of all kinds in place of jobs end nothing', async (t) => {
  const key = new TransferKey(KEY);
  const task = 'module.exports = class { async run(job) { return job.data; } };\n';
  const sha256 = sha256Of(task);
  const assets = {
    status: 'changed',
    dependencies: null,
    files: [{ name: 'task.js', workerPath: '/workplace/task.js', sha256, content: key.seal(task) }],
  };
  const answers: { [name: string]: unknown } = { requestExecAssets: assets, shareResults: { ok: true }, ping: {} };
  const { room, requests } = await impostor(t, answers);
  const { worker, warnings } = workerOf(t, room.port, { concurrency: 8 });
  const wrong = [
    7,
    { task: 7 },
    { task: 'no JSON' },
    { task: '{}' },
    { task: JSON.stringify(key.seal('[1]')) },
    { batchTasks: [null, {}] },
  ];
  for (const answer of wrong) {
    const before = requests.filter((name) => name === 'requestWork').length;
    answers['requestWork'] = answer;
    await until(() => requests.filter((name) => name === 'requestWork').length > before);
  }
  t.match(
    warnings.map(({ code }) => code),
    ['queue-xec-key'],
  );
  answers['requestWork'] = { task: JSON.stringify(key.seal('{"id":{"odd":[1]},"data":{"deep":1}}')) };
  await until(() => worker.status().completed > 0);
  answers['requestWork'] = { task: null };
  t.pass('and the next job is done');
});
