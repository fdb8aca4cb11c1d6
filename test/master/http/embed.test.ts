import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import fastify from 'fastify';
import t from 'tap';
import { fastifyPlugin, requestListener } from '../../../src/master/http/embed.js';
import { openJobService } from '../../lab/job-service.js';

const authorize = ({ headers }: { readonly headers: { readonly [name: string]: unknown } }) =>
  headers['x-user'] === 'ann' ? (['admin'] as const) : [];
const push = (base: string, user = 'ann') =>
  fetch(`${base}/v1/jobs`, {
    method: 'POST',
    body: '[{"data":1},{"data":2}]',
    headers: { 'content-type': 'application/json', 'x-user': user },
  });

for (const parsed of [false, true])
  t.test(`in an Express app${parsed ? ' that parses bodies itself' : ''}, with its own auth`, async (t) => {
    const { service, ledger } = await openJobService(t);
    const app = express();
    if (parsed) app.use(express.json());
    const api = requestListener({ service, authorize });
    app.use('/work', api);
    app.get('/mine', (_request, response) => void response.send('mine'));
    const server = createServer(app).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    t.teardown(async () => {
      await api.close();
      server.close();
      server.closeAllConnections();
    });
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    t.equal((await push(`${base}/work`)).status, 201);
    t.equal((await push(`${base}/work`, 'eve')).status, 401);
    t.match(await ledger.counts(), { ready: 2 });
    t.equal(await (await fetch(`${base}/mine`)).text(), 'mine');
    t.match(await (await fetch(`${base}/work/openapi.json`)).json(), { servers: [{ url: '/work' }] });
    t.equal((await fetch(`${base}/work/nowhere`)).status, 404);
  });

t.test('in a Fastify app, under a prefix', async (t) => {
  const { service, ledger } = await openJobService(t);
  const app = fastify();
  await app.register(fastifyPlugin({ service, authorize }), { prefix: '/work' });
  app.get('/mine', async () => 'mine');
  const base = await app.listen({ port: 0, host: '127.0.0.1' });
  t.teardown(() => app.close());
  t.equal((await push(`${base}/work`)).status, 201);
  t.equal((await push(`${base}/work`, 'eve')).status, 401);
  t.match(await ledger.counts(), { ready: 2 });
  t.equal(await (await fetch(`${base}/mine`)).text(), 'mine');
  t.match(await (await fetch(`${base}/work/openapi.json`)).json(), { servers: [{ url: '/work' }] });
});
