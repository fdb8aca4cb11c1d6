import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type Clock, systemClock } from '../../src/clock.js';
import type { Ledger } from '../../src/ledger/ledger.js';
import { openLedger } from '../../src/ledger/open.js';
import { silentLog } from '../../src/log.js';
import { Dispatch } from '../../src/master/dispatch.js';
import { MasterFiles } from '../../src/master/files.js';
import { HistoryWriter } from '../../src/master/history-writer.js';
import { HttpServer, type HttpServerOptions } from '../../src/master/http/server.js';
import { JobService } from '../../src/master/job-service.js';
import { Maintenance } from '../../src/master/maintenance.js';
import { Permits } from '../../src/master/permits.js';
import { Results } from '../../src/master/results.js';
import { FolderStore } from '../../src/task/folder-store.js';

/** A Master without a swarm: ledger, dispatch and maintenance are real, but no Worker is linked. */
export async function openJobService(
  t: Test,
  options: { readonly ledger?: string; readonly leaseMs?: number; readonly clock?: Clock } = {},
): Promise<{ service: JobService; ledger: Ledger }> {
  const { leaseMs = 30_000, clock = systemClock } = options;
  const ledger = await openLedger(options.ledger ?? 'memory:', { clock });
  const shared = { clock, log: silentLog };
  const dispatch = new Dispatch({ ...shared, ledger, leaseMs });
  const results = new Results(ledger);
  const history = new HistoryWriter(ledger, clock, silentLog);
  const permits: Permits = new Permits({
    ledger,
    approval: 'auto',
    admit: undefined,
    onChange: ({ id, drainedAt, revokedAt }) => dispatch.hold(id, drainedAt !== undefined || revokedAt !== undefined),
  });
  const store = new FolderStore(mkdtempSync(join(tmpdir(), 'peerwork-files-')), { temporary: true });
  const files = new MasterFiles({ ...shared, ledger, store });
  const service: JobService = new JobService({
    ...shared,
    files,
    name: 'lab',
    ledger,
    results,
    dispatch,
    history,
    permits,
    leaseMs,
    beatMs: Math.ceil(leaseMs / 3),
    taskChannels: () => [],
    workers: () => [],
    notifyCancelled: () => {},
    onDue: (at) => maintenance.wakeBy(at),
  });
  const maintenance = new Maintenance({ ...shared, ledger, graceMs: 0, onChange: () => service.wake() });
  maintenance.start();
  t.teardown(async () => {
    dispatch.close();
    await maintenance.close();
    await history.flush();
    await results.close();
    await files.close();
    service.close();
    await ledger.close();
  });
  return { service, ledger };
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: an answer is looked into without end.
  readonly body: any;
}

/** Serves the API of such a Master on a free port, with a client. */
export async function openApi(t: Test, options: Partial<HttpServerOptions> & { readonly ledger?: string; readonly leaseMs?: number } = {}) {
  const { service, ledger } = await openJobService(t, {
    ...(options.leaseMs !== undefined && { leaseMs: options.leaseMs }),
    ...(options.ledger !== undefined && { ledger: options.ledger }),
  });
  const server = new HttpServer({ ...options, service, port: 0 });
  const { url } = await server.start();
  t.teardown(() => server.close());
  const ask = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = /json/.test(response.headers.get('content-type') ?? '') && !/ndjson/.test(response.headers.get('content-type') ?? '');
    return { status: response.status, headers: response.headers, text, body: isJson && text !== '' ? JSON.parse(text) : undefined };
  };
  return { service, ledger, server, url, ask };
}

/** Parses the lines of an NDJSON response. */
// biome-ignore lint/suspicious/noExplicitAny: as above.
export function linesOf(text: string): any[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}
