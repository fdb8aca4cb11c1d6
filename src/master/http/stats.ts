import type { FastifyInstance } from 'fastify';
import type { Scope } from './auth.js';
import type { ApiContext } from './context.js';
import { about, list, object, ref, text } from './route.js';

const integer = { type: 'integer' };
const latencies = list({ anyOf: [{ type: 'number' }, { type: 'null' }] });

/** Adds `/v1/stats` and `/v1/status`. */
export function statsRoutes(app: FastifyInstance, { service, series, options }: ApiContext): void {
  const figures = object({
    stepMs: integer,
    at: list(integer),
    added: list(integer),
    completed: list(integer),
    failed: list(integer),
    waitP50Ms: latencies,
    waitP95Ms: latencies,
    runP50Ms: latencies,
    runP95Ms: latencies,
  });
  const stats = object({ counts: ref('JobCounts'), workers: object({ connected: integer }), series: figures });
  app.get('/v1/stats', about('read', 'stats', 'Counts, and the last hour in steps', { response: stats }), async () => ({
    counts: await service.ledger.counts(),
    workers: { connected: service.workers().length },
    series: series.read(),
  }));

  const status = object({
    name: text,
    version: text,
    startedAt: integer,
    ledger: { type: 'string', enum: ['sqlite', 'postgres'] },
    scopes: list(text),
  });
  app.get('/v1/status', about('any', 'stats', 'Who this Master is, and what you may do', { response: status }), async (request) => ({
    name: service.name,
    version: service.version,
    startedAt: service.startedAt,
    ledger: options.engine ?? 'sqlite',
    scopes: [...request.getDecorator<ReadonlySet<Scope>>('granted')],
  }));
}
