import type { FastifyInstance } from 'fastify';
import type { CrewContext } from './context.js';
import { type CrewRoute, crewRoute } from './route.js';
import { allGroups } from './task-groups.js';

const DEFAULT_EXPIRED_DAYS = 7;
const DEFAULT_BATCH = 20;
const DAY_MS = 86_400_000;

/** The routes that an outside cron calls, the health check and the front page. */
export function upkeepRoutes(app: FastifyInstance, { desk, options }: CrewContext): void {
  const { ledger, clock } = desk;
  app.all<CrewRoute>('/api/v1/clean', crewRoute('admin'), async ({ query }) => {
    const before = clock.wall() - (options.expiredGroupDays ?? DEFAULT_EXPIRED_DAYS) * DAY_MS;
    const batch = Math.max(1, Number.parseInt(query['batch'] ?? '', 10) || DEFAULT_BATCH);
    const expired = (await allGroups(ledger)).filter(({ createdAt }) => createdAt < before).slice(-batch);
    for (const { id } of expired) await ledger.deleteGroup(id, clock.now());
    return { success: true };
  });
  // Tasks become ready with the end of their parents, in one transaction: there is nothing to catch up with.
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
