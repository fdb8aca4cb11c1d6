import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize, sep } from 'node:path';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { PeerworkError } from '../../errors.js';
import type { ApiContext } from './context.js';
import { mountOf } from './mount.js';
import { asConfig } from './route.js';

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.json': 'application/json; charset=utf-8',
  '.webmanifest': 'application/manifest+json',
  '.woff2': 'font/woff2',
};

/** Serves the dashboard: `index.html` at the root, other files under `/assets/`. */
export function dashboardRoutes(app: FastifyInstance, { options: { dashboard } }: ApiContext): void {
  const hidden = { exposeHeadRoute: false, schema: { hide: true }, config: asConfig({ demand: 'none' }) };
  const send = async (reply: FastifyReply, path: string): Promise<FastifyReply> => {
    const inside = normalize(path);
    const type = types[extname(inside)];
    if (
      dashboard === undefined ||
      type === undefined ||
      inside.startsWith('..') ||
      inside.split(sep).some((part) => part.startsWith('.')) ||
      inside.includes('\0')
    )
      throw new PeerworkError('route-unknown', path);
    const bytes = await readFile(join(dashboard, inside)).catch(() => undefined);
    if (bytes === undefined) throw new PeerworkError('route-unknown', path);
    return reply.type(type).header('cache-control', 'no-cache').send(bytes);
  };
  app.get('/', hidden, async (request, reply) => {
    const { originalUrl } = request.raw as { originalUrl?: string };
    // URLs in the page are relative, so it must be served below its mount path.
    if (mountOf(request.raw) !== '' && originalUrl?.split('?')[0]?.endsWith('/') === false)
      return reply.redirect(`${mountOf(request.raw)}/`);
    if (dashboard === undefined || !existsSync(join(dashboard, 'index.html'))) return reply.redirect(`${mountOf(request.raw)}/docs/`);
    return send(reply, 'index.html');
  });
  app.get<{ Params: { '*': string } }>('/assets/*', hidden, ({ params }, reply) => send(reply, params['*']));
}
