import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { PeerworkError } from '../../errors.js';
import { MAX_MESSAGE_BYTES } from '../../job/limits.js';
import { formatJson, type JsonRefused, MAX_JSON_DEPTH } from '../../kit/json.js';
import type { Api } from './api.js';
import { setMount } from './mount.js';
import type { ApiOptions } from './options.js';
import { problemOf } from './problems.js';
import { refusalOf } from './refused-json.js';

/** A request as Express extends it. */
interface HostRequest extends IncomingMessage {
  readonly baseUrl?: string;
  readonly body?: unknown;
}

/** A listener for `app.use('/path', …)` of Express and similar frameworks: URLs of requests are relative to the mount path. */
export interface RequestListener {
  (request: IncomingMessage, response: ServerResponse): void;
  /** Serves the live events of foreign systems to clients of your server. */
  attachLive(server: Server): Promise<void>;
  close(): Promise<void>;
}

/** Creates the listener for Express and similar frameworks. Requests wait until the API is ready. */
export function requestListener(options: ApiOptions | Promise<ApiOptions>): RequestListener {
  const starting = Promise.resolve(options).then((ready) => openApi(ready));
  starting.catch(() => {});
  const listener = (request: IncomingMessage, response: ServerResponse) => {
    setMount(request, (request as HostRequest).baseUrl ?? '');
    starting.then(
      ({ app }) => {
        const body = replayBody(request);
        if (!(body instanceof PeerworkError)) return app.routing(body, response);
        response.writeHead(body.status, { 'content-type': 'application/problem+json' }).end(JSON.stringify(problemOf(body)));
      },
      () => response.writeHead(500).end(),
    );
  };
  return Object.assign(listener, {
    attachLive: async (server: Server) => (await starting).attachLive(server),
    close: async () => (await starting).app.close(),
  });
}

/** A Fastify instance, without Fastify's types: those would have to be installed wherever ours are. */
export interface FastifyHost {
  readonly server: Server;
  readonly prefix: string;
}

/** Loads the API on demand, since a Master without HTTP needs none of it. Rejects with `package-missing`. */
async function openApi(options: ApiOptions): Promise<Api> {
  const { createApi } = await import('./api.js');
  return createApi(options);
}

/**
 * Creates a plugin for `app.register(…, { prefix })` of a Fastify host: the host's hooks run first, everything else behaves as when
 * the API is served alone.
 */
export function fastifyPlugin(options: ApiOptions | Promise<ApiOptions>): (host: FastifyHost) => Promise<void> {
  return async (instance) => {
    const host = instance as FastifyInstance;
    const { app, attachLive } = await openApi(await options);
    attachLive(host.server);
    host.addHook('onClose', () => app.close());
    host.removeAllContentTypeParsers();
    host.addContentTypeParser('*', (_request, _payload, done) => done(null));
    const { prefix } = host;
    const handler = (request: { readonly raw: IncomingMessage }, reply: { readonly raw: ServerResponse; hijack(): unknown }) => {
      reply.hijack();
      const { raw } = request;
      setMount(raw, prefix);
      Object.assign(raw, { originalUrl: raw.url });
      const inner = (raw.url ?? '').slice(prefix.length);
      raw.url = inner.startsWith('/') ? inner : `/${inner}`;
      app.routing(raw, reply.raw);
    };
    host.all('/', handler);
    host.all('/*', handler);
  };
}

/** Replays a body that the host has already read and parsed, within whatever limits, as if it arrived now. */
function replayBody(request: HostRequest): IncomingMessage | PeerworkError {
  if (!request.readableEnded || request.body === undefined) return request;
  let bytes: Buffer;
  try {
    bytes = Buffer.from(formatJson(request.body, { maxBytes: MAX_MESSAGE_BYTES, maxDepth: MAX_JSON_DEPTH }));
  } catch (thrown) {
    return refusalOf(thrown as JsonRefused, 'the body');
  }
  const replayed = Readable.from([bytes]) as unknown as IncomingMessage;
  return Object.assign(replayed, {
    method: request.method,
    url: request.url,
    headers: { ...request.headers, 'content-length': String(bytes.length) },
    rawHeaders: request.rawHeaders,
    httpVersion: request.httpVersion,
    socket: request.socket,
  }) as IncomingMessage;
}
