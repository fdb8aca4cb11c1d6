import type { FastifyInstance } from 'fastify';
import type { ApiContext } from './context.js';
import { openStream } from './ndjson.js';
import { about, text } from './route.js';

/** Adds `/v1/events`, server-sent events. */
export function eventRoutes(app: FastifyInstance, { feed }: ApiContext): void {
  const facts = about('read', 'events', 'What happens, as server-sent events', {
    query: { group: text, job: text, lastEventId: text },
    type: 'text/event-stream',
    response: text,
  });
  app.get<{ Querystring: { group?: string; job?: string; lastEventId?: string } }>(
    '/v1/events',
    facts,
    async ({ query, headers }, reply) => {
      const { group, job, lastEventId } = query;
      const last = headers['last-event-id']?.toString() ?? lastEventId;
      feed.attach(
        openStream(reply, 'text/event-stream'),
        { ...(group === undefined ? {} : { group }), ...(job === undefined ? {} : { job }) },
        last,
      );
      return reply;
    },
  );
}
