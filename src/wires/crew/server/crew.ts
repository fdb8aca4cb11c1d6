import type { Server } from 'node:http';
import type { FastifyInstance } from 'fastify';
import type { Gate } from '../../../master/http/auth.js';
import type { JobService } from '../../../master/job-service.js';
import type { ServerRoutes, ServerSetup } from '../../../master/server-setup.js';
import { DEFAULT_CREW_PATH, DEFAULT_EXPIRED_DAYS } from '../defaults.js';
import type { CrewContext, CrewOptions } from './context.js';
import { Live } from './live.js';
import { operatorRoutes } from './operator-routes.js';
import { OperatorRunner } from './operator-runner.js';
import { Operators } from './operators.js';
import { type CrewRoute, crewConventions, crewRoute } from './route.js';
import { allGroups, taskGroupRoutes } from './task-groups.js';
import { taskRoutes } from './tasks.js';
import { workRoutes } from './work.js';

const DEFAULT_BATCH = 20;

const DAY_MS = 86_400_000;

/** Serves crew clients next to the HTTP API of a Master: `new Master({ http: {}, serve: [crewServer()] })`. */
export function crewServer(options: CrewOptions = {}): ServerSetup {
  return { name: 'crew', packages: ['socket.io'], routes: ({ service, gate }) => new Crew(service, gate, options) };
}

/**
 * Implements the client-facing API of crew 1.0.25 (orchard-insights/crew) on our ledger: routes, shapes, idempotence, operators and
 * socket.io events. docs/coming-from/crew.md lists the intended differences.
 */
class Crew implements ServerRoutes {
  readonly #context: CrewContext;
  readonly #runner: OperatorRunner;

  constructor(service: JobService, gate: Gate, options: CrewOptions) {
    const live = new Live(service, gate, options.path ?? DEFAULT_CREW_PATH);
    this.#context = { service, gate, options, live, operators: new Operators(service.ledger) };
    this.#runner = new OperatorRunner(this.#context);
  }

  /** Rejects with `package-missing` if socket.io is not installed. */
  async register(app: FastifyInstance): Promise<void> {
    await this.#context.live.open();
    await app.register(
      async (scoped) => {
        crewConventions(scoped, this.#context.service.log);
        scoped.addHook('preHandler', async ({ method }, reply) => {
          if (method !== 'GET') reply.raw.once('close', this.#context.live.begin());
        });
        for (const routes of [taskGroupRoutes, taskRoutes, workRoutes, operatorRoutes, maintenanceRoutes]) routes(scoped, this.#context);
      },
      { prefix: this.#context.options.path ?? DEFAULT_CREW_PATH },
    );
    this.#runner.start();
  }

  attach(server: Server, origins: readonly string[]): void {
    this.#context.live.attach(server, origins);
  }

  async close(): Promise<void> {
    await this.#context.live.close();
    await this.#runner.close();
  }
}

/** Registers the routes that an external cron calls, the health check and the front page. */
function maintenanceRoutes(app: FastifyInstance, { service, options }: CrewContext): void {
  const { ledger, clock } = service;
  app.all<CrewRoute>('/api/v1/clean', crewRoute('admin'), async ({ query }) => {
    const before = clock.wall() - (options.expiredGroupDays ?? DEFAULT_EXPIRED_DAYS) * DAY_MS;
    const batch = Math.max(1, Number.parseInt(query['batch'] ?? '', 10) || DEFAULT_BATCH);
    const expired = (await allGroups(ledger)).filter(({ createdAt }) => createdAt < before).slice(-batch);
    for (const { id } of expired) await ledger.deleteGroup(id, clock.now());
    return { success: true };
  });
  // No-ops: tasks become ready in the same transaction that ends their parents, so there is never anything to synchronize.
  for (const verb of ['bootstrap', 'sync']) app.all(`/api/v1/${verb}`, crewRoute('admin'), async () => ({ success: true }));

  app.get('/healthz', crewRoute('none'), async () => {
    await ledger.lastSettled();
    return { healthy: true };
  });
  const page = (title: string, text: string) => `<!doctype html><meta charset="utf-8"><title>${title}</title><p>${text}</p>\n`;
  app.get('/', crewRoute('none'), async (request, reply) => {
    const { originalUrl = request.url } = request.raw as { originalUrl?: string };
    const [path = '', query] = originalUrl.split('?');
    if (!path.endsWith('/')) return reply.redirect(`${path}/${query === undefined ? '' : `?${query}`}`);
    return reply.type('text/html').send(page('crew', 'The routes of crew, served by peerwork: see <a href="./api-docs/">api-docs</a>.'));
  });
  app.get('/api-docs', crewRoute('none'), async (_request, reply) => reply.redirect('./api-docs/', 301));
  app.get('/api-docs/', crewRoute('none'), async (_request, reply) =>
    reply
      .type('text/html')
      .send(page('crew', 'These are the routes of crew 1.0.25; peerwork’s own API is documented under /docs/ of this Master.')),
  );
}
