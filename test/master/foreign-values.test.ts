import { EventEmitter, once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import express from 'express';
import { io } from 'socket.io-client';
import t from 'tap';
import { type Clock, systemClock } from '../../src/clock.js';
import type { Json, Progress } from '../../src/job/job.js';
import { MAX_HISTORY_CHARS } from '../../src/ledger/history.js';
import type { HistoryInput, WorkerRef } from '../../src/ledger/ledger.js';
import { Ledger } from '../../src/ledger/ledger.js';
import { migrate } from '../../src/ledger/migrate.js';
import { SqliteDriver } from '../../src/ledger/sqlite.js';
import { silentLog } from '../../src/log.js';
import { HistoryWriter } from '../../src/master/history-writer.js';
import { requestListener } from '../../src/master/http/embed.js';
import { EventFeed } from '../../src/master/http/event-feed.js';
import { Uploads } from '../../src/master/uploads.js';
import { WorkerSession } from '../../src/master/worker-session.js';
import { TransferKey } from '../../src/wires/queue-xec/protocol/transfer.js';
import { openResult, outcomeOf } from '../../src/wires/queue-xec/server/wire-job.js';
import { openJobService } from '../lab/job-service.js';
import { ann, claimOne, completed, NOW } from '../ledger/verbs.js';
import { openCrew } from '../wires/crew/server/client.js';

const lists = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
const nest = (depth: number) => JSON.parse(lists(depth)) as Json;
const DEPTHS = [513, 4_400, 8_000, 200_000, 3_000_000];
const progress = (value: Json): Progress => ({ kind: 'progress', value });

/** Timers are real, instants match those passed to the ledger. */
const atNow: Clock = { ...systemClock, now: () => NOW, wall: () => NOW };

t.test('bodies that are nested too deep are refused, whatever route they take', async (t) => {
  const { ask, url, send } = await openCrew(t);
  for (const depth of DEPTHS) {
    for (const body of [`{"data":${lists(depth)}}`, `[{"data":1},{"data":${lists(depth)}}]`])
      t.match(
        await ask('POST', '/v1/jobs', body),
        { status: 400, body: { code: 'request-invalid', detail: /nested more than 512 deep/ } },
        `${depth}`,
      );
    const lines = await ask('POST', '/v1/jobs', `{"data":${lists(depth)}}\n{"data":1}\n`, { 'content-type': 'application/x-ndjson' });
    t.match(lines.text, /"line":1,"problem":\{.*nested more than 512 deep[\s\S]*"added":true/, 'a line alone');
    t.match(
      await ask(
        'POST',
        '/v1/leases/settle',
        `{"worker":{"name":"w"},"results":[{"id":"a","lease":1,"outcome":{"state":"completed","output":${lists(depth)}}}]}`,
      ),
      { status: 400 },
    );
    const response = await fetch(`${url}/crew/api/v1/task_groups`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: `{"name":${lists(depth)}}`,
    });
    t.equal(response.status, 400);
    t.match(await response.text(), /nested more than 512 deep/);
  }
  const rounded = /the number 9007199254740993 at .*n.* would become 9007199254740992: write it as a string/;
  for (const body of ['{"data":{"n":9007199254740993}}', '[{"data":1},{"data":[{"n":9007199254740993}]}]'])
    t.match(await ask('POST', '/v1/jobs', body), { status: 400, body: { code: 'request-invalid', detail: rounded } });
  const lines = await ask('POST', '/v1/jobs', '{"data":{"n":9007199254740993}}\n{"data":1}\n', { 'content-type': 'application/x-ndjson' });
  t.match(lines.text, /"line":1,"problem":\{.*would become 9007199254740992[\s\S]*"added":true/, 'a line alone');
  t.match(
    await ask(
      'POST',
      '/v1/leases/settle',
      '{"worker":{"name":"w"},"results":[{"id":"a","lease":1,"outcome":{"state":"completed","output":1e999}}]}',
    ),
    { status: 400, body: { detail: /the number 1e999 at results\[0\]\.outcome\.output .* would become Infinity/ } },
  );
  const told = await fetch(`${url}/crew/api/v1/task_groups`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"name":"g","n":0.12345678901234567890123}',
  });
  t.match(await told.text(), /would become 0\.12345678901234568/);

  t.match(await ask('POST', '/v1/jobs', `{"data":${lists(501)}}`), {
    status: 400,
    body: { code: 'job-invalid', detail: /nested more than 500 deep/ },
  });
  t.match(await ask('POST', '/v1/jobs', `{"id":"deep","data":${lists(500)}}`), { status: 201 });
  t.match(await ask('GET', '/v1/jobs/deep'), { status: 200 }, 'what was let in can be shown');
  t.match(await ask('POST', '/v1/jobs', `{"data":[${'{},'.repeat(2_600_000)}{}]}`), { status: 413, body: { code: 'body-too-large' } });
  t.match(await send('GET', 'task_groups/count'), { status: 200 }, 'and all goes on');
});

t.test('an Express host may have parsed the body without any limit', async (t) => {
  const { service } = await openJobService(t);
  const app = express();
  app.use(express.json({ limit: '20mb' }));
  const api = requestListener({ service });
  app.use('/work', api);
  const server = createServer(app).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.teardown(async () => {
    await api.close();
    server.close();
    server.closeAllConnections();
  });
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/work/v1/jobs`;
  for (const depth of DEPTHS) {
    const answer = await fetch(base, { method: 'POST', headers: { 'content-type': 'application/json' }, body: `{"data":${lists(depth)}}` });
    t.match(await answer.json(), { status: 400, code: 'request-invalid' }, `${depth}`);
  }
});

t.test('an output beyond the limits fails its job, whoever sent it', async (t) => {
  const { service, ledger } = await openJobService(t, { clock: atNow });
  for (const [output, code] of [
    [nest(501), 'output-unsendable'],
    [nest(8_000), 'output-unsendable'],
    ['x'.repeat(8 * 1024 * 1024), 'output-too-large'],
  ] as const) {
    await ledger.add([{ data: 1, attempts: 3 }], NOW);
    const job = await claimOne(ledger);
    t.same(await service.settle(ann, [completed(job, output)]), ['settled']);
    t.match(await ledger.get(job.id), { state: 'failed', settled: { error: { code } } });
  }
  await ledger.add(
    [
      { id: 'parent', data: 1 },
      { id: 'child', data: 2, parents: ['parent'] },
    ],
    NOW,
  );
  await service.settle(ann, [completed(await claimOne(ledger), nest(500))]);
  t.match(await claimOne(ledger), { id: 'child', parents: [{ output: lists(500) }] }, 'what is allowed reaches the next job');
});

t.test('a row that an earlier version let in fails its own job alone', async (t) => {
  const driver = new SqliteDriver(':memory:');
  await migrate(driver);
  const ledger = new Ledger(driver, { random: () => 0 }, 0);
  t.teardown(() => ledger.close());
  await ledger.add(
    [
      { id: 'deep', data: 1 },
      { id: 'good', data: 2 },
    ],
    NOW,
  );
  await driver.run(`UPDATE job SET data = ? WHERE id = 'deep'`, [lists(4_400)]);
  await t.rejects(ledger.get('deep'), { code: 'ledger-damaged' });
  const jobs = await ledger.claim({ worker: ann, channels: ['default'], labels: [], limit: 5, until: NOW + 1e9 }, NOW);
  const service = {
    clock: atNow,
    settle: (...args: [typeof ann, Parameters<Ledger['settle']>[1]]) => ledger.settle(...args, NOW),
    ledger: { reconcile: async () => [] },
    rates: { take() {}, has: () => true },
    leaseMs: 1,
    beatMs: 1,
    name: 'm',
    version: '1',
  };
  const tasks = { channelsFor: () => ['default'], current: () => ({ runner: 'task-module', digest: 'a'.repeat(64) }) };
  const session = new WorkerSession({
    facts: { ...ann, role: 'worker', path: 'direct', connectMs: 1 },
    service,
    tasks,
    dispatch: { request: async () => jobs, withdraw() {} },
    instances: new Map(),
    tunnels: {},
    uploads: new Uploads(systemClock),
    onChange() {},
  } as never);
  const { isMaster, requestWork } = session.handlers.calls ?? {};
  const { signal } = new AbortController();
  await isMaster?.({ version: '1', concurrency: 1, isolation: '', platform: '', instance: 'i', holding: [] }, signal);
  t.match(await requestWork?.({ capacity: 5 }, signal), { work: [{ id: 'good', data: 2 }] });
  t.match(await ledger.counts(), { failed: 1, leased: 1 });
});

t.test('progress beyond its limit is dropped again by the Master', async (t) => {
  const { service, ledger } = await openJobService(t, { clock: atNow });
  await ledger.add([{ id: 'a', data: 1 }], NOW);
  const { lease } = await claimOne(ledger);
  const heard: unknown[] = [];
  service.watch((event) => event.kind === 'progress' && heard.push(event.progress));
  service.report(ann, [
    { id: 'a', lease, progress: progress('x'.repeat(64 * 1024)) },
    { id: 'a', lease, progress: progress(nest(501)) },
    { id: 'a', lease, progress: { kind: 'log', stream: 'log', line: 'y'.repeat(100_000) } },
    { id: 'a', lease, progress: progress('x'.repeat(64 * 1024 - 2)) },
  ]);
  t.match(heard, [
    { kind: 'log', line: /^y{8192}$/ },
    { kind: 'progress', value: /^x{65534}$/ },
  ]);
});

t.test('what waits for a slow ledger is bounded in bytes', async (t) => {
  const written: (readonly HistoryInput[])[] = [];
  let go: () => void = () => {};
  const ledger = {
    record: (_: WorkerRef, entries: readonly HistoryInput[]) =>
      new Promise<void>((resolve) => {
        written.push(entries);
        go = resolve;
      }),
  };
  const history = new HistoryWriter(ledger as never, systemClock, silentLog);
  const line = 'x'.repeat(8_000);
  const fill = () => {
    for (let at = 0; at < 1_900 && history.accepts; at += 1)
      history.add(
        ann,
        { id: `job ${at}`, lease: 1 },
        { progress: at % 2 === 0 ? { kind: 'log', stream: 'log', line } : progress('y'.repeat(60_000)) },
      );
  };
  fill();
  const flushed = history.flush();
  await new Promise((resolve) => setImmediate(resolve));
  for (let times = 0; times < 5; times += 1) fill();
  t.equal(written.length, 1, 'one write at a time');
  const chars = JSON.stringify(written[0]).length;
  t.ok(chars > 4 * 1024 * 1024 && chars < 9 * 1024 * 1024, `${chars} characters`);
  go();
  await flushed;
  void history.flush();
  await new Promise((resolve) => setTimeout(resolve, 10));
  t.ok(JSON.stringify(written[1]).length < 9 * 1024 * 1024);
  go();
});

t.test('the ring of events and the lines of a job are bounded in bytes', async (t) => {
  const { service, ledger } = await openJobService(t, { clock: atNow });
  const feed = new EventFeed(service, 60_000);
  t.teardown(() => feed.close());
  const reader = () => {
    let text = '';
    const raw = Object.assign(new EventEmitter(), {
      destroyed: false,
      write: (part: string) => {
        text += part;
        return true;
      },
      end() {},
      destroy() {},
    });
    return { raw: raw as unknown as ServerResponse, text: () => text };
  };
  const first = reader();
  feed.attach(first.raw, {});
  const epoch = /id: (\w+)-/.exec(first.text())?.[1] ?? '';
  first.raw.emit('close');
  for (let at = 0; at < 1_000; at += 1) service.report(ann, [{ id: 'a', lease: 1, progress: progress('z'.repeat(65_000)) }]);
  const late = reader();
  feed.attach(late.raw, {}, `${epoch}-0`);
  t.match(late.text(), /event: gap/, 'the oldest are gone');
  const recent = reader();
  feed.attach(recent.raw, {}, `${epoch}-950`);
  t.notMatch(recent.text(), /event: gap/);
  t.equal([...recent.text().matchAll(/event: progress/g)].length, 50, 'the latest are there');

  await ledger.add([{ id: 'b', data: 1 }], NOW);
  const { lease } = await claimOne(ledger);
  for (let times = 0; times < 4; times += 1)
    await ledger.record(
      ann,
      Array.from({ length: 25 }, () => ({ id: 'b', lease, progress: progress('h'.repeat(65_000)) })),
      NOW,
    );
  const kept = await ledger.history('b', 0, 1_000);
  t.ok(kept.length > 50 && JSON.stringify(kept).length <= MAX_HISTORY_CHARS + 100 * kept.length, `${kept.length} lines`);
});

t.test('a watcher cannot end the Master by what he watches', async (t) => {
  const { server, url, get } = await openCrew(t);
  t.ok(server);
  const socket = io(url, { transports: ['websocket'], reconnection: false });
  t.teardown(() => socket.close());
  await new Promise<void>((resolve) => socket.on('connect', () => resolve()));
  // Sent as text, because the client itself could not serialise it: below the message limit, but too deep to be stringified.
  for (const event of ['watchTaskGroup', 'unwatchTaskGroup'])
    for (const group of [lists(7_000), '{"toString":1}', 'null', '5']) socket.io.engine.write(`2["${event}",{"taskGroupId":${group}}]`);
  socket.io.engine.write(`2["unwatchTaskGroup",${lists(7_000)}]`);
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.match(await get('task_groups/count'), { count: 0 });
});

t.test('a result of a queue-xec Worker that is nested too deep fails its job', async (t) => {
  const key = new TransferKey('0123456789abcdef0123456789abcdef');
  for (const depth of [600, 200_000]) {
    const text = JSON.stringify(key.seal(`{"jobID":"1 job","worker":{"name":"w"},"data":{"peerwork":1,"output":${lists(depth)}}}`));
    const result = openResult(key, text);
    t.match(result, { jobID: '1 job' });
    t.match(outcomeOf(result?.data ?? null), { state: 'failed', error: { code: 'output-unsendable' } });
  }
});

t.test('bodies that are read together have a bound in bytes, and small ones pass', async (t) => {
  const { url, ask } = await openCrew(t);
  const { hostname, port } = new URL(url);
  const sockets = Array.from({ length: 16 }, () => connect(Number(port), hostname));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
  });
  const head = (bytes: number) =>
    `POST /v1/jobs HTTP/1.1\r\nhost: ${hostname}:${port}\r\ncontent-type: application/json\r\ncontent-length: ${bytes}\r\n\r\n{`;
  for (const socket of sockets) socket.write(head(16 * 1024 * 1024));
  await new Promise((resolve) => setTimeout(resolve, 300));
  const last = connect(Number(port), hostname);
  t.teardown(() => last.destroy());
  last.write(head(16 * 1024 * 1024));
  const [answer] = (await once(last, 'data')) as [Buffer];
  t.match(answer.toString(), /^HTTP\/1\.1 429 /);
  t.match(await ask('POST', '/v1/jobs', { data: 1 }), { status: 201 });
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.match(await ask('POST', '/v1/jobs', { data: 'x'.repeat(1024 * 1024) }), { status: 201 }, 'and there is room again');
});

t.test('an id that no database can hold is refused as such', async (t) => {
  const { service, ledger } = await openJobService(t, { clock: atNow });
  const lease = { id: 'a\0b', lease: 1 };
  const outcome = { state: 'released', reason: 'drain' } as const;
  const settlement = { ...lease, outcome, startedAt: NOW, finishedAt: NOW };
  const refusal = { code: 'value-unstorable', message: /a NUL character in "a\\u0000b"/ };
  await t.rejects(service.settle(ann, [settlement]), refusal);
  await t.rejects(service.extend(ann, [lease]), refusal);
  await t.rejects(ledger.get(lease.id), refusal);
  await ledger.add([{ id: 'good', data: 1 }], NOW);
  t.match(await claimOne(ledger), { id: 'good' }, 'and all goes on');
});
