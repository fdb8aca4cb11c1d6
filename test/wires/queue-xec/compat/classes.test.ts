import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Master as PeerworkMaster, Worker as PeerworkWorker } from '../../../../src/index.js';
import { silentLog } from '../../../../src/log.js';
import queueXec, { Crypt, Helper, Logger, Master, Worker } from '../../../../src/wires/queue-xec/compat/index.js';
import { Helper as WorkerHelper } from '../../../../src/wires/queue-xec/compat/worker.js';
import { TransferKey } from '../../../../src/wires/queue-xec/protocol/transfer.js';
import { KEY, TOKEN } from '../../../lab/queue-xec/foreign.js';
import { until } from '../../../lab/until.js';
import { room, TASK } from './lab.js';

t.test('pushed is what queue-xec takes: any JSON, its text, ids of any kind, again in each run', async (t) => {
  const { master, worker, results } = await room(t);
  const made = master();
  worker();
  const job = { id: 0, data: JSON.stringify({ x: 1, y: 2 }), extra: 'mine' };
  await made.pushNewJob(job);
  await made.pushNewJob(job);
  await made.pushNewJob(JSON.stringify({ ...job, id: { of: ['any', null] } }));
  await made.pushNewJob({ id: 'x'.repeat(500), data: { as: 'it is' } });
  await made.pushNewJob({ id: '\u0085 \u007f', data: null });
  await made.pushNewJob(50);
  await made.pushNewJob('50');
  await made.pushNewJob([{ a: 1 }]);
  await until(() => results.length === 8);
  const of = (id: unknown) => results.filter(({ jobID }) => JSON.stringify(jobID) === JSON.stringify(id));
  t.match(
    of(0),
    [{ data: { job, sum: 3 }, worker: { name: 'worker_1' }, state: 'completed' }, { data: { job, sum: 3 } }],
    'the same id twice is two jobs',
  );
  t.match(of({ of: ['any', null] }), [{ data: { job: { id: { of: ['any', null] }, extra: 'mine' } } }]);
  t.match(of('x'.repeat(500)), [{ data: { job: { data: { as: 'it is' } } } }], 'also an id that is longer than one of ours may be');
  t.match(of('\u0085 \u007f'), [{ data: { job: { data: null } } }]);
  t.same(
    of(undefined).map(({ data }) => (data as { job: unknown }).job),
    [50, 50, [{ a: 1 }]],
  );
  await t.rejects(made.pushNewJob(undefined), { code: 'job-invalid', message: /payload is undefined/ });
  await t.rejects(made.pushNewJob('no JSON'), { code: 'job-invalid', message: /must be the JSON of a job/ });
  const circular: { id: unknown } = { id: null };
  circular.id = circular;
  await t.rejects(made.pushNewJob(circular), { code: 'job-invalid' });
  await t.rejects(made.pushNewJob({ id: 1n }), { code: 'job-invalid' });
});

t.test("a Worker's methods", async (t) => {
  const { master, worker, results, folder } = await room(t);
  const made = master();
  const one = worker();
  await t.rejects(one.shareResults('{}'), { code: 'queue-xec-absent' });
  t.equal(one.checkCurrentAssets(), '', 'no files are known yet');
  one.requestWork();
  one.registerRPC();
  await one.ready;
  const shared = await one.doJobs({ id: { mine: 1 }, data: '{"x":5}' });
  const key = new TransferKey(KEY);
  const opened = JSON.parse(key.openText(shared) ?? '');
  t.match(opened, { jobID: { mine: 1 }, worker: { name: 'worker_1' }, data: { sum: 7 } });
  await t.rejects(one.doJobs({ id: 1, fail: true }), { code: 'task-threw', message: /this one fails/ });
  t.same(results, [], 'the Master hears nothing of it');
  await one.shareResults(shared);
  const hash = one.checkCurrentAssets();
  t.match(hash, /^[0-9a-f]{128,}$/);
  one.onSeen('nobody');
  await one.deleteExecAssets();
  t.equal(one.checkCurrentAssets(), hash, 'they were fetched anew');
  await made.pushNewJob({ id: 'after', data: null });
  one.requestWork();
  await until(() => results.length === 1);
  t.match(results, [{ jobID: 'after' }]);

  const cwd = process.cwd();
  process.chdir(folder);
  t.teardown(() => process.chdir(cwd));
  writeFileSync('mine.txt', 'stays');
  const content = key.seal(TASK);
  one.saveAssets([
    { name: 'task.js', workerPath: '/workplace/task.js', content },
    { name: 'empty', workerPath: '/empty', content: '' },
  ]);
  t.equal(readFileSync(join('workplace', 'task.js'), 'utf8'), TASK);
  writeFileSync(join('workplace', 'mine.txt'), 'stays');
  const sha256 = createHash('sha256').update(TASK).digest('hex');
  t.match(WorkerHelper.populateSha256OnAssets([{ name: 'task.js', workerPath: '/workplace/task.js' }]), [{ sha256 }]);
  t.throws(() => one.saveAssets([{ name: 'x', workerPath: '/../outside.js', content }]), { code: 'asset-path-unsafe' });
  t.throws(() => one.saveAssets([{ name: 'x', workerPath: '/x.js', content: new TransferKey('f'.repeat(32)).seal('x') }]), {
    code: 'queue-xec-key',
  });
  await one.deleteExecAssets();
  t.notOk(existsSync(join('workplace', 'task.js')));
  t.ok(existsSync(join('workplace', 'mine.txt')), 'the rest of the folder stays, unlike with queue-xec');
  await Worker.installDependencies([]);
  await t.rejects(Worker.installDependencies(['--global']), { code: 'dependencies-refused' });
  await t.rejects(Worker.installDependencies(['../elsewhere']), { code: 'dependencies-refused' });
});

t.test('tokens: null is none, the environment has them, and a wrong one is said', async (t) => {
  const { master, worker, results, folder, port } = await room(t);
  for (const name of ['token', 'transferEncryptToken', 'LOG_LEVEL']) {
    const before = process.env[name];
    t.teardown(() => {
      if (before === undefined) delete process.env[name];
      else process.env[name] = before;
    });
    delete process.env[name];
  }
  t.throws(() => new Worker({ token: null, transferEncryptToken: null }), { code: 'token-missing' });
  t.throws(() => new Worker({ token: TOKEN, transferEncryptToken: null }), { code: 'option-invalid', message: /transfer key/ });
  t.throws(() => new Worker({ token: TOKEN, transferEncryptToken: 'short' }), { code: 'option-invalid', message: /5 bytes/ });
  t.throws(() => new Master({ token: TOKEN }), { code: 'option-invalid', message: /transfer key/ });
  t.throws(() => new PeerworkWorker({ token: TOKEN }), { code: 'token-malformed', message: /transferEncryptToken/ });
  t.throws(() => new PeerworkMaster({ token: TOKEN, ledger: 'memory:' }), { code: 'token-malformed', message: /given to its own option/ });
  for (const loglevel of ['loud', 'toString', '7'])
    for (const make of [() => new Worker({ token: TOKEN, transferEncryptToken: KEY, loglevel }), () => new Master({ loglevel })])
      t.throws(make, { code: 'option-invalid', message: /loglevel is .* one of off, info, warn, error, debug/ });

  process.env['token'] = TOKEN;
  process.env['transferEncryptToken'] = KEY;
  process.env['LOG_LEVEL'] = 'OFF';
  const made = master({ token: null, transferEncryptToken: null, loglevel: null });
  const first = worker({ token: null, transferEncryptToken: null, loglevel: null });
  await made.pushNewJob({ id: 1, data: null });
  await until(() => results.length === 1);

  // Our own Worker class, embedded, for the same Master.
  const embedded = new PeerworkWorker({
    ...{ token: TOKEN, transferEncryptToken: KEY, home: join(folder, 'embedded'), sandbox: 'off', log: silentLog, name: 'embedded' },
    queueXec: { listen: { host: '127.0.0.1' }, peers: [{ host: '127.0.0.1', port }], lsd: false, dht: false },
  });
  t.teardown(() => embedded.close());
  t.same(embedded.status().sources, ['queue-xec']);
  await first.close();
  await made.pushNewJob({ id: 2, data: null });
  await until(() => results.length === 2);
  t.match(results[1], { jobID: 2, worker: { name: 'embedded' } });
});

t.test('without a token of queue-xec a Master has one of ours', async (t) => {
  const lines: string[] = [];
  const log = { ...silentLog, warn: (line: string) => void lines.push(line) };
  const { master } = await room(t);
  const made = master({ token: null, transferEncryptToken: null, execAssets: [], log });
  t.match(made.token, /^pw1\./);
  t.match(lines, [/no queue-xec token is set/]);
  t.equal(made.crypt, undefined);
});

t.test('Logger, Helper and Crypt', async (t) => {
  t.equal(queueXec, Master, 'the default is the Master …');
  t.match({ ...queueXec }, { Master, Worker, Logger, Helper, Crypt }, '… and has the others');
  t.match(Helper.LocalTime(Date.UTC(2026, 0, 2, 3, 4, 5)), /^0[123]-01 \d\d:\d\d:05$/);
  t.equal(Helper.mesurePerf(), -1);
  t.ok(Helper.mesurePerf(Helper.getTimestamp() - 50) >= 50);
  await Helper.sleep(1);
  const { filename } = import.meta;
  const sha256 = createHash('sha256').update(readFileSync(filename)).digest('hex');
  t.equal(await Helper.getSha256(filename), sha256);
  await t.rejects(Helper.getSha256('none'), { message: 'File not found' });
  t.equal(WorkerHelper.getSha256(filename), sha256);

  const crypt = new Crypt(KEY);
  const sealed = crypt.encrypt('text');
  t.equal(crypt.getIv().toString('hex'), sealed.iv);
  t.not(crypt.encrypt('text').iv, sealed.iv, 'no iv is used twice');
  t.equal(crypt.decrypt(sealed), 'text');
  t.equal(crypt.decrypt(crypt.encrypt(50)), '50');
  t.equal(crypt.decrypt({ iv: 'x', encryptedData: 'y' }), null);
  t.equal(crypt.getKey(), KEY);
  t.throws(() => new Crypt('short'), { code: 'option-invalid' });

  const written: string[] = [];
  const logger = new Logger({ level: 'Warn', writeStream: { write: (text) => written.push(text) } });
  const { write } = process.stdout;
  t.teardown(() => {
    process.stdout.write = write;
  });
  process.stdout.write = () => true;
  logger.info('one', { two: 2 });
  logger.warn(`never ${'se'}cret`, KEY);
  logger.error('not told');
  logger.debug('not told');
  process.stdout.write = write;
  t.match(written, [/^\d\d-\d\d \d\d:\d\d:\d\d \[INFO\] one \{"two":2\}\n$/, /\[WARN\] never secret/]);
  t.throws(() => new Logger({ level: 'loud' }), { code: 'option-invalid' });
  t.equal(new Logger().level, 0);
  t.equal(new Logger({ level: null }).level, 0);
});
