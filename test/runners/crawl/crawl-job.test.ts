import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Json } from '../../../src/job/job.js';
import { checkActor, readCrawlJob } from '../../../src/runners/crawl/crawl-job.js';
import { removeFolder } from '../../lab/remove-folder.js';

const job = (data: unknown, more: object = {}) => ({ id: 'j1', channel: 'default', data: data as Json, attempt: 1, timeoutMs: 0, ...more });
const actor = { startUrls: ['http://site.test/'] };
const redisUrl = 'redis://:secret@localhost:6379/1';

function taskOf(t: Test, settings: unknown) {
  const folder = mkdtempSync(join(tmpdir(), 'peerwork-task-'));
  t.teardown(() => removeFolder(folder));
  writeFileSync(join(folder, 'task.json'), typeof settings === 'string' ? settings : JSON.stringify(settings));
  return { digest: '', folder, entry: 'task.json', readable: [folder] };
}

t.test('a source gives a whole crawl', async (t) => {
  const crawl = {
    runId: 'r1',
    actor,
    containers: 2,
    redisUrl,
    api: { baseUrl: 'http://localhost:4500', key: 'k' },
    labels: { 'dory.run': 'r1' },
  };
  t.match(await readCrawlJob(job(crawl), undefined, false), { ...crawl, shared: true, trusted: true, queue: 'r1' });
  t.match(await readCrawlJob(job(crawl, { attempt: 3 }), undefined, false), { queue: 'r1' });
  const single = { runId: 'r1', actor, containers: 1 };
  t.match(await readCrawlJob(job(single), undefined, false), { shared: false });
  const { queue, key } = await readCrawlJob(job(single), undefined, false);
  t.equal(queue, `r1~${key.slice(0, 16)}`, 'results that come back belong to the job');
  t.match(await readCrawlJob(job(single, { attempt: 3 }), undefined, false), { queue, key }, 'each attempt goes on with them');
});

t.test('what is wrong is told with its place', async (t) => {
  const refused = async (data: unknown, code: string, detail: RegExp) => {
    const error = await readCrawlJob(job(data), undefined, false).then(
      () => undefined,
      (thrown) => thrown,
    );
    t.match(error, { code, message: detail }, JSON.stringify(data));
  };
  const complete = { runId: 'r1', actor, containers: 1 };
  await refused(null, 'crawl-invalid', /Object/);
  await refused({ actor, containers: 1 }, 'crawl-invalid', /runId: /);
  await refused({ ...complete, containers: 0 }, 'crawl-invalid', /containers: /);
  await refused({ ...complete, runId: 'a\nb' }, 'crawl-invalid', /runId: holds control characters/);
  await refused({ ...complete, redisUrl: 'http://x' }, 'crawl-invalid', /redisUrl: must begin with redis/);
  await refused({ ...complete, api: { baseUrl: 'file:///x', key: '' } }, 'crawl-invalid', /api\.baseUrl: /);
  await refused({ ...complete, extra: 1 }, 'crawl-invalid', /extra: /);
  await refused({ ...complete, containers: 2 }, 'crawl-redis-missing', /Redis/);
  await refused({ ...complete, distributed: true }, 'crawl-redis-missing', /Redis/);
  t.throws(() => checkActor({ ...complete, actor: { startUrls: ['x'] } }), { code: 'crawl-invalid', detail: /^actor\.startUrls\.0: / });
});

t.test('a task and the data of a job make one together', async (t) => {
  const task = taskOf(t, { runner: 'crawl', actor: { ...actor, maxPages: 5 }, containers: 2 });
  t.match(await readCrawlJob(job({ actor: { maxPages: 7 } }), task, true), {
    runId: 'j1',
    containers: 2,
    actor: { startUrls: actor.startUrls, maxPages: 7 },
    shared: true,
    trusted: false,
  });
  t.match(await readCrawlJob(job(null), taskOf(t, { runner: 'crawl', actor }), false), { containers: 1, shared: false });
});

t.test('what an attempt goes on with is of the same job, task and crawl', async (t) => {
  const task = { ...taskOf(t, { runner: 'crawl', actor }), digest: 'd1' };
  const keyOf = async (data: unknown, more: object = {}, workplace = task) => (await readCrawlJob(job(data, more), workplace, false)).key;
  const key = await keyOf(null);
  t.equal(await keyOf(null, { attempt: 2, timeoutMs: 5 }), key);
  for (const other of [keyOf(null, { id: 'j2' }), keyOf({ memoryMb: 64 }), keyOf(null, {}, { ...task, digest: 'd2' })])
    t.not(await other, key);
});

t.test('a task says what its crawls may reach; a source that the owner has connected may use what the owner opens', async (t) => {
  const network = async (settings: object) => (await readCrawlJob(job(null), taskOf(t, { actor, ...settings }), false)).network;
  t.equal((await readCrawlJob(job({ runId: 'r1', actor, containers: 1 }), undefined, false)).network, 'lan');
  t.equal(await network({}), 'internet');
  t.equal(await network({ network: 'lan', tunnel: 'redis', children: { channels: [], most: 1 } }), 'lan');
  t.same(await network({ network: ['a.example:80'] }), ['a.example:80']);
  await t.rejects(network({ network: 'all' }), { code: 'crawl-invalid', message: /task\.json: network: / });
  await t.rejects(readCrawlJob(job({ network: 'lan' }), taskOf(t, { actor }), false), { code: 'crawl-invalid' }, 'not the data of a job');
});

t.test('a task cannot say where results go, nor what the containers are called', async (t) => {
  const rejected = (settings: unknown, data: unknown, detail: RegExp) =>
    t.rejects(readCrawlJob(job(data), taskOf(t, settings), false), { code: 'crawl-invalid', detail });
  await rejected({ runner: 'crawl', actor, api: { baseUrl: 'http://x', key: '' } }, null, /api: a task cannot set it/);
  await rejected({ runner: 'crawl', actor }, { labels: { a: 'b' } }, /labels: a task cannot set it/);
  await rejected({ runner: 'crawl', actor }, { containerIdPrefix: 'x' }, /containerIdPrefix: a task cannot set it/);
  await rejected({ runner: 'crawl', actor, maxPages: 1 }, null, /^task\.json: maxPages: /);
  await rejected({ runner: 'crawl', actor }, { maxPages: 1 }, /^data: maxPages: /);
  await rejected('{', null, /^task\.json: /);
  await rejected('[]', null, /^task\.json: it is not an object/);
});
