import type { FastifyInstance } from 'fastify';
import type { ApiContext } from './context.js';
import { about, list, object, ref } from './route.js';

/** Adds `/v1/channels`. */
export function channelRoutes(app: FastifyInstance, { service }: ApiContext): void {
  const response = object({ channels: list(ref('ChannelRecord')) });
  app.get('/v1/channels', about('read', 'channels', 'Channels and how many jobs they have', { response }), async () => ({
    channels: await service.ledger.channels(),
  }));
}
