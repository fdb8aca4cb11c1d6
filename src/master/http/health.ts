import type { FastifyInstance } from 'fastify';
import { pause } from '../../clock.js';
import type { ApiContext } from './context.js';
import { about, flag, object } from './route.js';

const LEDGER_TIMEOUT_MS = 3_000;

/** Adds `/health`: 200 while the ledger responds within three seconds, otherwise 503. */
export function healthRoutes(app: FastifyInstance, { service }: ApiContext): void {
  for (const path of ['/health', '/v1/health'])
    app.get(
      path,
      about('none', 'health', 'Whether the ledger responds; 503 if not', { response: object({ healthy: flag }) }),
      async (_request, reply) => {
        const done = new AbortController();
        const responding = service.ledger.lastSettled().then(
          () => true,
          () => false,
        );
        const healthy = await Promise.race([responding, pause(service.clock, LEDGER_TIMEOUT_MS, done.signal).then(() => false)]);
        done.abort();
        return reply.code(healthy ? 200 : 503).send({ healthy });
      },
    );
}
