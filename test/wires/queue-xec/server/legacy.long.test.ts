import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock } from '../../../../src/clock.js';
import type { SettledJob } from '../../../../src/job/job.js';
import { silentLog } from '../../../../src/log.js';
import type { Master } from '../../../../src/master/master.js';
import { Room } from '../../../../src/wires/queue-xec/protocol/room.js';
import { sha256Of, TransferKey } from '../../../../src/wires/queue-xec/protocol/transfer.js';
import { foreigners, KEY, TOKEN } from '../../../lab/queue-xec/foreign.js';
import { until } from '../../../lab/until.js';
import { workerOf } from '../source/fixtures.js';
import { allEnded, masterOf, writeTask } from './fixtures.js';

const numbered = (count: number, data: object = {}) => Array.from({ length: count }, (_, n) => ({ id: `job-${n}`, data: { ...data, n } }));
const LOOPBACK = '127.0.0.1';

function outcomesOf(master: Master): Map<string, SettledJob> {
  const outcomes = new Map<string, SettledJob>();
  master.on('settled', (job) => outcomes.set(job.id, job));
  return outcomes;
}

for (const [how, plan] of [
  ['one by one', {}],
  ['in batches', { getBatch: 'true', batchSize: '50' }],
] as const)
  t.test(`a queue-xec Worker does our jobs ${how}, 300 of them`, async (t) => {
    const { start } = foreigners(t);
    const { master, port, lines } = await masterOf(t);
    const outcomes = outcomesOf(master);
    t.match(lines.join('\n'), /queue-xec Workers are served: anyone with their token can join/, 'its weakness is said');
    await start('foreign-worker.js', { name: 'old hand', dial: `${LOOPBACK}:${port}`, ...plan });
    await master.push(numbered(300));
    const startedAt = Date.now();
    await allEnded(master, 300);
    t.comment(`${Math.round(300_000 / (Date.now() - startedAt))} jobs/s`);
    t.equal((await master.counts()).completed, 300);
    await until(() => outcomes.size === 300);
    t.match(outcomes.get('job-7'), { state: 'completed', output: { n: 7, by: 'lib' }, attempts: 1, worker: 'old hand' });
    t.match(master.workers(), [{ name: 'old hand', isolation: /none/ }]);
  });

t.test('an idle queue-xec Worker has a new job at once', async (t) => {
  const { start } = foreigners(t);
  const { master, port } = await masterOf(t);
  const worker = await start('foreign-worker.js', { name: 'idle', dial: `${LOOPBACK}:${port}` });
  await until(() => master.workers().length === 1);
  const tookMs: number[] = [];
  for (let n = 0; n < 4; n += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    const pushedAt = Date.now();
    await master.push({ data: { n } });
    await allEnded(master, n + 1);
    tookMs.push(Date.now() - pushedAt);
  }
  t.comment(`from push to result in ms: ${tookMs.join(', ')}`);
  t.ok(worker.running, 'and nobody pinged it or told it to leave');
});

t.test('what a task throws, answers or asks for arrives, and the Worker lives on', async (t) => {
  const { start } = foreigners(t);
  const { master, port } = await masterOf(t);
  const outcomes = outcomesOf(master);
  const worker = await start('foreign-worker.js', { name: 'w', dial: `${LOOPBACK}:${port}`, getBatch: 'true', batchSize: '8' });
  await master.push([
    { id: 'fails', data: { fail: true }, attempts: 2, backoffMs: 10 },
    { id: 'parent', data: { child: 'born', n: 1 } },
    ...numbered(6),
  ]);
  await until(() => outcomes.size === 9);
  t.match(outcomes.get('fails'), { state: 'failed', attempts: 2, error: { code: 'task-threw', message: /this one fails/ } });
  t.match(outcomes.get('born'), { state: 'completed' }, 'a child was born');
  t.ok(worker.running);
});

t.test('a Worker that is killed in the middle of a batch: its jobs go to another', async (t) => {
  const { start } = foreigners(t);
  const { master, port } = await masterOf(t, { leaseMs: 60_000 });
  const plan = { dial: `${LOOPBACK}:${port}`, getBatch: 'true', batchSize: '8' };
  const first = await start('foreign-worker.js', { name: 'first', ...plan }, undefined);
  await master.push(numbered(8, { ms: 400 }).map((job) => ({ ...job, backoffMs: 10 })));
  await until(async () => (await master.counts()).completed > 0);
  await first.kill();
  const gone = new Promise<void>((resolve) => master.once('disconnected', () => resolve()));
  const others = foreigners(t);
  await others.start('foreign-worker.js', { name: 'second', ...plan });
  await gone;
  await allEnded(master, 8);
  t.match(await master.counts(), { completed: 8, failed: 0 }, 'long before the leases would have ended');
});

t.test('the Master is killed and started anew: its Worker goes on with the new one', async (t) => {
  const { start } = foreigners(t);
  const { folder } = await masterOf(t);
  const ledger = `sqlite:${join(folder, 'ledger.db')}`;
  const first = await masterOf(t, { ledger });
  const worker = await start('foreign-worker.js', { name: 'w', dial: `${LOOPBACK}:${first.port}` });
  await first.master.push(numbered(6, { ms: 300 }));
  await until(async () => (await first.master.counts()).completed > 0);
  await first.master.close();
  const second = await masterOf(t, { ledger, port: first.port, peers: [worker.port] });
  await allEnded(second.master, 6);
  t.match(await second.master.counts(), { completed: 6 });
});

t.test('whoever has the token only gets no job, and cannot answer for one', async (t) => {
  const { master, port, warnings } = await masterOf(t);
  await master.push(numbered(20));
  const room = new Room({
    ...{ token: TOKEN, serve: new Map(), clock: systemClock, log: silentLog },
    ...{ listen: { host: LOOPBACK }, lsd: false, dht: false, peers: [{ host: LOOPBACK, port }] },
  });
  await room.start();
  t.teardown(() => room.close());
  await until(() => room.members().length === 1);
  const [address = ''] = room.members();
  const ask = (name: string, args: unknown) => room.call(address, name, args, { timeoutMs: 3_000 }).answered;
  const assets = (await ask('requestExecAssets', { currentHash: '' })) as { status: string; files: { name: string; sha256: string }[] };
  t.equal(assets.status, 'changed');
  t.same(await ask('requestExecAssets', { currentHash: assets.files.map(({ sha256 }) => sha256).join('') }), { status: 'same', files: [] });
  for (let count = 0; count < 5; count += 1) {
    const { task, batchTasks } = (await ask('requestWork', { getBatch: true, batchSize: 900 })) as { task?: string; batchTasks?: string[] };
    t.equal(batchTasks, undefined);
    t.match(new TransferKey(KEY).openText(task), /^{"id":"hello /, 'what it is given is no job');
  }
  t.match(await master.counts(), { ready: 20, leased: 0 });
  const forged = JSON.stringify(new TransferKey('e'.repeat(32)).seal('{"jobID":"1 job-0","data":1}'));
  for (const args of [forged, 7, null, 'no JSON', {}])
    await t.rejects(room.call(address, 'shareResults', args, { timeoutMs: 100 }).answered);
  for (const args of [null, [], 'x', 7, { batchSize: -1 }, { getBatch: 'false', batchSize: 'many' }]) await ask('requestWork', args);
  for (const args of [null, [], 'x', { currentHash: {} }]) t.match(await ask('requestExecAssets', args), { status: 'changed' });
  t.match(await master.counts(), { ready: 20, completed: 0 });
  t.ok(warnings.some(({ code }) => code === 'queue-xec-key'));
  t.equal(sha256Of('x').length, 64);
});

t.test('a Worker that is revoked gets nothing more', async (t) => {
  const { start } = foreigners(t);
  const { master, port } = await masterOf(t);
  const outcomes = outcomesOf(master);
  const plan = { dial: `${LOOPBACK}:${port}` };
  await start('foreign-worker.js', { name: 'out', ...plan });
  await until(() => master.workers().length === 1);
  const [worker] = master.workers();
  await (await master.service).mark({ id: worker?.id ?? '', name: 'out' }, { revoked: true });
  await master.push(numbered(5));
  const others = foreigners(t);
  await others.start('foreign-worker.js', { name: 'in', ...plan });
  await until(() => outcomes.size === 5);
  t.same(new Set([...outcomes.values()].map(({ worker }) => worker)), new Set(['in']));
});

t.test('a task that changes reaches Workers that are linked', async (t) => {
  const { start } = foreigners(t);
  const { master, port, folder } = await masterOf(t);
  const outcomes = outcomesOf(master);
  await start('foreign-worker.js', { name: 'w', dial: `${LOOPBACK}:${port}` });
  await master.push({ id: 'old', data: { n: 1 } });
  await until(() => outcomes.has('old'));
  const published = new Promise((resolve) => master.once('published', resolve));
  writeTask(join(folder, 'task'), 'changed');
  await published;
  await master.push({ id: 'new', data: { n: 1 } });
  await until(() => outcomes.has('new'));
  t.match(outcomes.get('new'), { output: { by: 'changed' } });
});

t.test('a file that is no text cannot be sent: said, and no job is given away', async (t) => {
  const { start } = foreigners(t);
  const { master, port, folder, warnings } = await masterOf(t);
  writeFileSync(join(folder, 'task', 'image.bin'), Buffer.from([0xff, 0xfe, 0x00]));
  await new Promise((resolve) => master.once('published', resolve));
  await start('foreign-worker.js', { name: 'w', dial: `${LOOPBACK}:${port}` });
  await until(() => warnings.some(({ code }) => code === 'queue-xec-task'));
  t.match(warnings.find(({ code }) => code === 'queue-xec-task')?.message, /image\.bin is no text file/);
});

t.test('both ends are ours: 300 jobs, a cancelled one, a drain', async (t: Test) => {
  const { master, port } = await masterOf(t);
  const { worker } = workerOf(t, port, { concurrency: 4 });
  await master.push(numbered(300));
  const startedAt = Date.now();
  await allEnded(master, 300);
  t.comment(`${Math.round(300_000 / (Date.now() - startedAt))} jobs/s`);
  t.match(await master.counts(), { completed: 300 });
  await master.push({ id: 'long', data: { ms: 600 } });
  await until(() => worker.status().running === 1);
  t.same(await master.cancel('long'), ['long']);
  await until(() => worker.status().running === 0);
  t.match(await master.get('long'), { state: 'cancelled' }, 'its outcome does not count');
  await master.push(numbered(2, { ms: 300 }).map(({ data }, n) => ({ id: `last-${n}`, data })));
  await until(() => worker.status().running === 2);
  await worker.drain();
  await allEnded(master, 302);
  t.match(await master.counts(), { completed: 302 });
});

t.test('both ends are ours: a Worker that stops gives back by its disk, and does it after the restart', async (t: Test) => {
  const { master, port } = await masterOf(t, { leaseMs: 60_000 });
  const before = workerOf(t, port, { concurrency: 2 });
  await master.push({ id: 'half', data: { ms: 1_500 } });
  await until(() => before.worker.status().running === 1);
  await before.worker.close();
  workerOf(t, port, { home: before.home });
  await allEnded(master, 1);
  t.match(await master.get('half'), { state: 'completed' });
});
