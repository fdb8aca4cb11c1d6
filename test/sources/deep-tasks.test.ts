import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { crewSource } from '../../src/index.js';
import { CrewClient } from '../../src/wires/crew/source/client.js';
import { decodeFrame } from '../../src/wires/openfn/source/frames.js';
import { HeldTask, readClaimed } from '../../src/wires/worqr/source/lease.js';
import { echoTask, openSource } from '../lab/open-source.js';
import { until } from '../lab/until.js';

const lists = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
const DEPTHS = [600, 4_400, 8_000, 200_000, 3_000_000];

t.test('crew: such a task fails at its server, and the next one is done', async (t) => {
  const waiting = DEPTHS.map((depth) => ({ id: `t${depth}`, input: lists(depth) }));
  waiting.push({ id: 'good', input: '1' });
  const released = new Map<string, { readonly error?: unknown; readonly output?: unknown }>();
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (part) => {
      body += part;
    });
    request.on('end', () => {
      response.setHeader('content-type', 'application/json');
      const [, id] = /task\/(\w+)\/release/.exec(request.url ?? '') ?? [];
      if (id !== undefined) released.set(id, JSON.parse(body));
      const next = /acquire/.test(request.url ?? '') ? waiting.shift() : undefined;
      const { workerId } = body === '' ? { workerId: '' } : JSON.parse(body);
      response.end(
        next === undefined
          ? '{"task":null}'
          : `{"task":{"_id":"${next.id}","channel":"c","assignedTo":${JSON.stringify(workerId)},"errors":[],"remainingAttempts":5,"input":${next.input}},"parents":[]}`,
      );
    });
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const { take, lines } = await openSource(t, crewSource({ url, tasks: { c: echoTask(t) }, intervalMs: 10 }));
  const lease = await take();
  t.match(lease.job, { id: 'good', data: 1 });
  await until(() => released.size === DEPTHS.length);
  for (const depth of DEPTHS) t.match(released.get(`t${depth}`), { error: /nested more than 512 deep/ }, `${depth} levels`);
  await lease.settle({ state: 'completed', output: 1 });
  await until(() => released.has('good'));
  t.ok(lines);
});

t.test('crew: of a list that is nested too deep the outline is looked at', async (t) => {
  const { fetch } = globalThis;
  globalThis.fetch = async () => new Response(`[{"_id":"t","assignedTo":"w","input":${lists(200_000)}}]`);
  t.teardown(() => {
    globalThis.fetch = fetch;
  });
  t.match(await new CrewClient({ url: 'http://127.0.0.1:1/' }, Date.now).assigned('c', 'w'), [{ id: 't' }]);
});

t.test('worqr: a task in JSON that is nested too deep, or would be rounded, is not run as text either', async (t) => {
  const open = (task: string, garbled = false) =>
    new HeldTask(
      { process: 'q_1', task, bytes: task.length, tried: 0, garbled },
      { task: {} as never, runner: 'task-module' },
      { data: 'json', timeoutMs: 0, startedAt: 0 },
      async () => {},
    );
  for (const depth of DEPTHS) t.match(open(lists(depth)).fault, /nested more than 500 deep/);
  t.match(open(lists(500)), { fault: undefined });
  t.match(open('[not json').job, { data: '[not json' });
  t.match(open('{"n":[9007199254740993]}').fault, /the number 9007199254740993 at n\[0\] \(column 7\) would become 9007199254740992/);
  t.equal(open('{"n":1}', true).fault, 'the task is not UTF-8');
  const sha1 = (bytes: Buffer) => createHash('sha1').update(bytes).digest('hex');
  const claimed = (bytes: Buffer) => readClaimed([['q_1', bytes.toString(), bytes.length, 0, sha1(bytes)]])?.[0]?.garbled;
  t.same(
    [claimed(Buffer.from('café')), claimed(Buffer.from('café', 'latin1')), claimed(Buffer.from([0xf0, 0x9f, 0x98]))],
    [false, true, true],
  );
});

t.test('Lightning: who waits for an answer that is nested too deep hears so', async (t) => {
  for (const depth of DEPTHS) {
    const frame = `["1","7","run:a","phx_reply",{"status":"ok","response":{"jobs":${lists(depth)}}}]`;
    t.match(decodeFrame(Buffer.from(frame), false), {
      kind: 'reply',
      ref: '7',
      topic: 'run:a',
      ok: false,
      response: /nested more than 512 deep/,
    });
    t.equal(decodeFrame(Buffer.from(`[null,null,"run:a","event",${lists(depth)}]`), false), undefined);
  }
});
