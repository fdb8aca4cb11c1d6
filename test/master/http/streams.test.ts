import t from 'tap';
import { ApiClient } from '../../../src/cli/client/api-client.js';
import { linesOf, openApi } from '../../lab/job-service.js';

const worker = { name: 'w' };

t.test('results: from a cursor, followed, page by page', async (t) => {
  const { ask, url } = await openApi(t);
  await ask(
    'POST',
    '/v1/jobs',
    Array.from({ length: 5 }, (_, at) => ({ id: `j${at}`, data: at })),
  );
  await ask('POST', '/v1/jobs/cancel', { ids: ['j0', 'j1', 'j2'] });
  const first = linesOf((await ask('GET', '/v1/results?limit=2')).text);
  t.match(first, [{ cursor: Number, job: { id: 'j0', state: 'cancelled' } }, { job: { id: 'j1' } }]);
  t.match(linesOf((await ask('GET', `/v1/results?after=${first[1].cursor}`)).text), [{ job: { id: 'j2' } }]);
  const response = await fetch(`${url}/v1/results?follow=true&after=${first[1].cursor}&limit=2`);
  const reading = response.text();
  await ask('POST', '/v1/jobs/cancel', { ids: ['j4'] });
  t.match(linesOf(await reading), [{ job: { id: 'j2' } }, { job: { id: 'j4' } }]);
});

t.test('events: as they happen, and again from the last id', async (t) => {
  const { ask, url } = await openApi(t, { heartbeatMs: 100 });
  const live = await listen(url, '/v1/events');
  await live.until((text) => text.includes('id: '));
  await ask('POST', '/v1/jobs', { id: 'a', data: 1, group: 'g' });
  await live.until((text) => text.includes('"ready"'));
  t.match(live.text(), /event: job\ndata: {"id":"a","channel":"default","state":"ready","group":"g","added":true}/);
  t.match(live.text(), /event: group\ndata: {"id":"g"}/);
  const last = [...live.text().matchAll(/^id: (.+)$/gm)].at(-1)?.[1] ?? '';
  live.end();
  await ask('POST', '/v1/leases', { worker, channels: ['default'] });
  await ask('POST', '/v1/leases/report', {
    worker,
    reports: [{ id: 'a', lease: 1, progress: { kind: 'log', stream: 'log', line: 'hello' } }],
  });
  await ask('POST', '/v1/leases/settle', { worker, results: [{ id: 'a', lease: 1, outcome: { state: 'completed', output: 1 } }] });
  const again = await listen(url, '/v1/events', { 'last-event-id': last });
  await again.until((text) => text.includes('"completed"'));
  t.match(again.text(), /"leased"[\s\S]*hello[\s\S]*"completed"/);
  t.notMatch(again.text(), /"ready"/, 'nothing twice');
  await again.until((text) => text.includes(': beat'));
  again.end();
  const other = await listen(url, '/v1/events?job=b', { 'last-event-id': last });
  await other.until((text) => text.includes(': beat'));
  t.notMatch(other.text(), /"a"/);
  other.end();
  const stranger = await listen(url, '/v1/events', { 'last-event-id': 'another-99' });
  await stranger.until((text) => text.includes('event: gap'));
  stranger.end();
  t.pass('a gap is told');
});

t.test('figures and documents', async (t) => {
  const { ask } = await openApi(t);
  await ask('POST', '/v1/jobs', { id: 'a', data: 1 });
  const { text } = await ask('GET', '/metrics');
  t.match(text, /^peerwork_jobs{channel="default",state="ready"} 1$/m);
  t.match(text, /^peerwork_http_request_seconds_count{method="POST",route="\/v1\/jobs",status="201"} 1$/m);
  t.match(await ask('GET', '/v1/stats'), {
    body: { counts: { ready: 1 }, workers: { connected: 0 }, series: { stepMs: Number, added: Array } },
  });
  const { body } = await ask('GET', '/openapi.json');
  t.match(body, { openapi: '3.1.0', info: { title: 'peerwork' } });
  t.ok(Object.keys(body.paths).length > 30);
  for (const [path, methods] of Object.entries<Record<string, { summary?: string; responses: object }>>(body.paths))
    for (const [method, { summary, responses }] of Object.entries(methods)) {
      t.ok(summary, `${method} ${path} says what it does`);
      t.ok('default' in responses, `${method} ${path} says how it refuses`);
    }
  t.match(await ask('GET', '/docs/'), { status: 200, text: /swagger/i });
});

async function listen(url: string, path: string, headers: Record<string, string> = {}) {
  const end = new AbortController();
  const response = await fetch(`${url}${path}`, { headers, signal: end.signal });
  let heard = '';
  const waiting = new Set<() => void>();
  void (async () => {
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      heard += Buffer.from(chunk).toString();
      for (const look of waiting) look();
    }
  })().catch(() => {});
  return {
    text: () => heard,
    end: () => end.abort(),
    until: (check: (text: string) => boolean) =>
      new Promise<void>((resolve) => {
        const look = () => {
          if (!check(heard)) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      }),
  };
}

t.test('a Master that stops in the middle of a list cuts it off, as the command line says', async (t) => {
  const { ledger, server, url } = await openApi(t);
  const job = { id: 'a', channel: 'default', state: 'cancelled', attempt: 0, finishedAt: 1 };
  // An endless list: the response ends when the Master closes.
  Object.assign(ledger, {
    settledAfter: async (after: number) => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      return [{ cursor: after + 1, job }];
    },
  });
  const lines = new ApiClient(url, undefined).lines('GET', 'v1/results');
  t.match((await lines.next()).value, { cursor: 1 });
  const rest = (async () => {
    for await (const _ of lines);
  })();
  await Promise.all([t.rejects(rest, { code: 'api-unreachable', detail: /cut off/ }), server.close()]);
});
