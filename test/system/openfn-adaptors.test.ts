import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { execa } from 'execa';
import t from 'tap';
import { openfnRunner, openfnSource, Worker } from '../../src/index.js';
import { silentLog } from '../../src/log.js';
import { Lightning } from '../lab/lightning.js';
import { requireThat } from '../lab/require.js';

const HTTP = '@openfn/language-http@7.2.10';
const COLLECTIONS = '0.8.0';

t.test('adaptors are installed from npm when a run needs them: http and collections do their work', async (t) => {
  const view = await execa('npm', ['view', HTTP, 'version'], { reject: false, timeout: 240_000 });
  if (!requireThat(t, view.exitCode === 0, `${HTTP} cannot be had from the npm registry`)) return;
  const kept = new Map<string, string>();
  const asked: string[] = [];
  // A web service, and the collections of a Lightning.
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const { method, url = '', headers } = request;
    asked.push(`${method} ${url} ${headers.authorization}`);
    const answer = (body: unknown) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (url.startsWith('/todos/')) return answer({ id: 1, title: 'sweep' });
    if (method === 'POST') {
      const { items } = JSON.parse(Buffer.concat(chunks).toString()) as { items: { key: string; value: string }[] };
      for (const { key, value } of items) kept.set(key, value);
      return answer({ upserted: items.length });
    }
    const key = url.split('/').at(-1) ?? '';
    answer({ key, value: kept.get(key) });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const lightning = await new Lightning({ tokenOf: () => 'token-of-the-run' }).start();
  const worker = new Worker({
    ...{ name: 'attic', home: t.testdir(), concurrency: 1, log: silentLog },
    sources: [
      openfnSource({ url: lightning.url, backoffMs: [50, 500], collections: { url: `${address}/collections`, version: COLLECTIONS } }),
    ],
    runners: [openfnRunner()],
  });
  t.teardown(async () => {
    await worker.close();
    await lightning.stop();
    server.closeAllConnections();
    server.close();
  });
  await worker.ready;
  const run = (body: string) => lightning.completed(lightning.enqueue({ jobs: [{ id: 'a', body, adaptor: HTTP }] }));

  t.match(await run(`get("${address}/todos/1");`), { reason: 'success', final_state: { data: { id: 1, title: 'sweep' } } });
  t.match(await run('collections.set("rooms", (room) => room.id, [{ id: "attic", n: 1 }]); collections.get("rooms", "attic");'), {
    reason: 'success',
    final_state: { data: { id: 'attic', n: 1 } },
  });
  t.ok(asked.includes('POST /collections/rooms Bearer token-of-the-run'));
  t.match(await run('fn(s => s)'), { reason: 'success' }, 'and what is there is there');
});
