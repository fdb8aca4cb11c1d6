import { setTimeout as after } from 'node:timers/promises';
import t from 'tap';
import { writeCredentials } from '../../../../src/wires/dory/source/credentials.js';
import { DoryLab, shortTimes } from './lab.js';

const lab = await DoryLab.ofFile(t);
const { api } = lab;
const beats = () => api.callsOf(/heartbeat/);
const someBeats = async (count: number) => {
  const before = beats().length;
  await api.until(() => beats().length >= before + count);
};

t.test('a heartbeat says who, since when, what runs, and at the end goodbye', async (t) => {
  const home = lab.worker('home');
  await lab.enqueue('run-1');
  const crawl = await home.crawl(0);
  await someBeats(2);
  t.match(api.beats.get('home')?.body, {
    workerId: 'home',
    label: 'home',
    hostname: String,
    pid: process.pid,
    version: String,
    startedAt: /^\d{4}-.*Z$/,
    maxConcurrentRuns: 2,
    activeRuns: [{ runId: 'run-1', role: 'coordinator', containers: 1 }],
    dockerOk: true,
    redisOk: true,
  });
  t.equal(beats()[0]?.body['status'], undefined);
  crawl.complete();
  await home.worker.drain();
  t.match(beats().at(-1)?.body, { status: 'stopping', activeRuns: [] });
});

t.test('there are never two heartbeats at once, and one that hangs does no harm', async (t) => {
  const home = lab.worker('home', {}, { auto: true });
  await someBeats(1);
  api.fault(/heartbeat/, 'hang', 1);
  await someBeats(1);
  const count = beats().length;
  const { id } = await lab.enqueue('run-1');
  await lab.state(id, 'completed');
  await after(5 * shortTimes.beatMs);
  t.equal(beats().length, count, 'those that were due meanwhile are left out');
  t.equal(home.crawls.length, 1, 'work goes on');
});

t.test('heartbeats that fail stop no work, but nothing is joined', async (t) => {
  api.fault(/heartbeat/, 500);
  const home = lab.worker('home', { settings: { crawlerRedisUrl: 'redis://localhost:1' } }, { auto: true });
  Object.assign(api.addRun('others', { containerCount: 2 }), { status: 'running', coordinatorWorkerId: 'elsewhere' });
  const { id } = await lab.enqueue('run-1');
  await lab.state(id, 'completed');
  await someBeats(5);
  t.equal(api.callsOf(/active.distributed|join/).length, 0);
  t.same(
    home.crawls.map(({ crawl }) => crawl.runId),
    ['run-1'],
  );
});

t.test('what the API sets holds for the next runs at once, without a restart', async (t) => {
  const home = lab.worker('home', { settings: { dockerImage: 'own:1' } });
  await lab.enqueue('run-1', { dockerImage: null });
  const first = await home.crawl(0);
  t.equal(first.crawl.image, 'own:1');
  api.config = { maxConcurrentRuns: 3, dockerImage: 'all:2', logLevel: 'warn', workers: { home: { dockerImage: 'home:3' } } };
  await api.until(() => api.beats.get('home')?.body['maxConcurrentRuns'] === 3);
  await Promise.all(['run-2', 'run-3', 'run-4'].map((runId) => lab.enqueue(runId, { dockerImage: null })));
  t.equal((await home.crawl(2)).crawl.image, 'home:3');
  t.equal(first.crawl.image, 'own:1', 'what runs is left as it is');
  await someBeats(3);
  t.equal(home.crawls.length, 3);
  t.equal(api.beats.get('home')?.body['configVersion'], 1, 'the API sees which version is in force');
  const lines = home.lines.filter((line) => line.includes('source=dory')).length;
  api.config = { maxConcurrentRuns: 1 };
  await api.until(() => api.beats.get('home')?.body['maxConcurrentRuns'] === 1);
  for (const crawl of home.crawls.slice(0, 2)) crawl.complete();
  await someBeats(5);
  t.equal(home.crawls.length, 3, 'fewer than before: what runs drains');
  t.ok(home.lines.filter((line) => line.includes('source=dory')).length > lines, 'it speaks again');
  home.crawls[2]?.complete();
  (await home.crawl(3)).complete();
});

t.test('a pinned Worker goes by its own settings', async (t) => {
  api.config = { maxConcurrentRuns: 9, dockerImage: 'all:2', containerCount: 7 };
  const home = lab.worker('home', { pinned: true, settings: { dockerImage: 'own:1' } });
  await lab.enqueue('run-1', { dockerImage: 'run:1', containerCount: 5 });
  t.match((await home.crawl(0)).crawl, { image: 'own:1', containers: 1 });
  await someBeats(3);
  t.equal(api.beats.get('home')?.body['maxConcurrentRuns'], 2);
});

t.test('a cancelled run is stopped and fails', async (t) => {
  const { run, id } = await lab.enqueue('run-1');
  const home = lab.worker('home');
  const crawl = await home.crawl(0);
  api.cancelled = ['run-1', 'of-somebody-else'];
  t.match(await crawl.ended, { error: { code: 'cancelled' } });
  t.match(await lab.state(id, 'failed', 'completed'), { state: 'failed', failedReason: /cancelled/ });
  t.match(run, { status: 'failed', exitCode: 143, statuses: [{}, { error: /cancelled/ }] });
});

t.test('with a key that is refused nothing is taken and nothing lost, until somebody logs in', async (t) => {
  const credentialsFile = lab.folder('credentials');
  const apiKey = 'dwk_revoked-before-long';
  api.keys.add(apiKey);
  await writeCredentials({ apiBaseUrl: api.url, apiKey, label: 'the attic' }, credentialsFile);
  const home = lab.worker('home', { credentialsFile, apiKey: undefined as never, apiBaseUrl: undefined as never });
  await api.until(() => api.beats.get('home')?.body['label'] === 'the attic');
  api.keys.delete(apiKey);
  const { run, id } = await lab.enqueue('run-1');
  await api.until(() => home.warnings.includes('dory-key-refused'));
  const before = api.calls.length;
  await after(20 * shortTimes.beatMs);
  t.ok(api.calls.length - before <= 5, `no storm: ${api.calls.length - before} calls where there would have been 20 beats`);
  t.equal(await lab.queue.getJobState(id), 'waiting');
  t.match(home.lines.join('\n'), /rejected this Worker’s key/);

  const renewed = 'dwk_of-a-new-log-in';
  api.keys.add(renewed);
  await writeCredentials({ apiBaseUrl: api.url, apiKey: renewed }, credentialsFile);
  const crawl = await home.crawl(0);
  t.equal(crawl.crawl.api?.key, renewed);
  crawl.complete();
  await lab.state(id, 'completed');
  t.equal(run.status, 'completed');
  t.notMatch(home.lines.join('\n'), /dwk_/);
});

t.test('a key that is refused in the middle of a run does not stop it', async (t) => {
  const { id } = await lab.enqueue('run-1');
  const home = lab.worker('home');
  const crawl = await home.crawl(0);
  api.keys.delete('dwk_a-key-for-tests');
  await api.until(() => home.warnings.includes('dory-key-refused'));
  t.notOk(crawl.signal.aborted);
  crawl.complete();
  await lab.state(id, 'completed');
  api.keys.add('dwk_a-key-for-tests');
});

t.test('a run whose containers fail because the key is refused goes back to the queue, and runs again with the new one', async (t) => {
  const credentialsFile = lab.folder('rotated');
  const [first, second, third] = ['dwk_the-first', 'dwk_the-second', 'dwk_the-third'] as const;
  const logIn = async (apiKey: string) => {
    api.keys.add(apiKey);
    await writeCredentials({ apiBaseUrl: api.url, apiKey }, credentialsFile);
  };
  await logIn(first);
  const home = lab.worker('home', { credentialsFile, apiKey: undefined as never, apiBaseUrl: undefined as never });
  const { run, id } = await lab.enqueue('run-1');
  const revoked = await home.crawl(0);
  t.equal(revoked.crawl.api?.key, first);
  api.keys.delete(first);
  revoked.fail(1);
  await lab.state(id, 'waiting');
  t.same(run.statuses, [{ status: 'running' }], 'the run has not failed');
  t.match(home.lines.join('\n'), /given back: the key was refused while it ran/);
  await after(5 * shortTimes.beatMs);
  t.equal(home.crawls.length, 1, 'nothing is taken before somebody has logged in');

  await logIn(second);
  const replaced = await home.crawl(1);
  t.equal(replaced.crawl.api?.key, second);
  await logIn(third);
  api.keys.delete(second);
  await api.until(() => api.calls.at(-1)?.key === third, 'the Worker has the new key');
  replaced.fail(1);
  const last = await home.crawl(2);
  t.equal(last.crawl.api?.key, third, 'its containers had the old one: that says nothing of the run');
  last.fail(1);
  await lab.state(id, 'failed');
  t.match(run, { status: 'failed', exitCode: 1 }, 'with a key that is good, it does');
});

t.test('how a run ended is told again and again, and does not keep the place', async (t) => {
  const home = lab.worker('home', { settings: { maxConcurrentRuns: 1 } });
  const { run, id } = await lab.enqueue('run-1');
  const crawl = await home.crawl(0);
  api.fault(/POST .*run-1.status/, 503, 3);
  crawl.complete();
  await lab.state(id, 'completed');
  t.equal(run.status, 'completed', 'with back-off');
  t.equal(api.callsOf(/run-1.status/).length, 1 + 3 + 1);
});

t.test('what the API could not be told is told after a restart', async (t) => {
  const folder = lab.folder('kept');
  const home = lab.worker('home', {}, { home: folder });
  const { run, id } = await lab.enqueue('run-1');
  const crawl = await home.crawl(0);
  api.fault(/POST .*status/, 503);
  crawl.complete();
  await api.until(() => api.callsOf(/POST .*status/).length > 2);
  await home.worker.close();
  t.equal(await lab.queue.getJobState(id), 'completed', 'the queue knows');
  t.equal(run.status, 'running', 'the API does not');
  api.heal();
  lab.worker('home', {}, { home: folder });
  await api.until(() => run.status === 'completed');
  t.match(run.statuses.at(-1), { status: 'completed', exitCode: 0, fallback: true });
});

t.test('a redirect is not followed: the key would go with it', async (t) => {
  api.fault(/GET .*config/, 302);
  const { id } = await lab.enqueue('run-1');
  lab.worker('home');
  t.match(await lab.state(id, 'failed'), { failedReason: /responded 302/ });
  t.equal(api.callsOf(/elsewhere/).length, 0);
});

t.test('a drain finishes what runs, takes nothing more, and gives back what takes too long', async (t) => {
  const slow = await lab.enqueue('slow');
  const quick = await lab.enqueue('quick');
  const home = lab.worker('home', {}, { drainMs: 700 });
  const crawls = [await home.crawl(0), await home.crawl(1)];
  const drained = home.worker.drain();
  const waiting = await lab.enqueue('waiting');
  crawls.find(({ crawl }) => crawl.runId === 'quick')?.complete();
  await lab.state(quick.id, 'completed');
  await drained;
  t.equal(home.crawls.length, 2);
  t.same(await Promise.all([slow.id, waiting.id].map((id) => lab.queue.getJobState(id))), ['waiting', 'waiting']);
  t.same(slow.run.statuses, [{ status: 'running' }], 'no verdict: another Worker goes on');
  const other = lab.worker('other', {}, { auto: true });
  await Promise.all([slow, waiting].map(({ id }) => lab.state(id, 'completed')));
  t.equal(other.crawls[0]?.crawl.runId, 'slow', 'it is the next one');
});

t.test('a coordinator that stops while others still help hands the run on', async (t) => {
  const settings = { crawlerRedisUrl: 'redis://localhost:1' };
  const { run, id } = await lab.enqueue('run-1', { containerCount: 2 });
  const home = lab.worker('home', { settings });
  const crawl = await home.crawl(0);
  const attic = lab.worker('attic', { settings, queue: 'another-queue' });
  const helps = await attic.crawl(0);
  crawl.complete();
  await api.until(() => home.lines.some((line) => line.includes('waits for its helpers')));
  await home.worker.close();
  const cellar = lab.worker('cellar', { settings });
  const second = await cellar.crawl(0);
  t.equal(run.coordinatorWorkerId, 'cellar');
  second.complete();
  helps.complete();
  await lab.state(id, 'completed');
  t.match(run, { status: 'completed', exits: [{ workerId: 'attic' }] });
});

t.test('a Worker without a way to run crawls does not pretend to serve the API', async (t) => {
  const { dorySource } = await import('../../../../src/wires/dory/source/setup.js');
  await t.rejects(dorySource({ apiBaseUrl: api.url, apiKey: 'dwk_x' }).open({ runners: ['task-module'] } as never), {
    code: 'dory-runner-missing',
  });
});
