import { randomBytes } from 'node:crypto';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { FastifyInstance, FastifyRequest, FastifyServerOptions } from 'fastify';
import { PeerworkError } from '../../errors.js';
import { GIVEN_MESSAGE } from '../../job/limits.js';
import { ByteBudget } from '../../kit/bounded-bytes.js';
import { carryMs } from '../../kit/deadline.js';
import { type JsonRefused, parseJson } from '../../kit/json.js';
import { optionalPackage } from '../../kit/optional-package.js';
import { Gate, require, type Scope } from './auth.js';
import { channelRoutes } from './channels.js';
import type { ApiContext } from './context.js';
import { dashboardRoutes } from './dashboard.js';
import { addDocument, docsRoutes } from './docs.js';
import { EventFeed } from './event-feed.js';
import { eventRoutes } from './events.js';
import { fileRoutes } from './files.js';
import { groupRoutes } from './groups.js';
import { healthRoutes } from './health.js';
import { jobRoutes } from './jobs.js';
import { leaseRoutes } from './leases.js';
import { metricsRoutes } from './metrics.js';
import { NDJSON } from './ndjson.js';
import type { ApiOptions } from './options.js';
import { asProblem, sendProblem } from './problems.js';
import { refusalOf } from './refused-json.js';
import { resultRoutes } from './results.js';
import type { RouteConfig, Schema } from './route.js';
import { scheduleRoutes } from './schedules.js';
import { addSchemas } from './schemas.js';
import { statsRoutes } from './stats.js';
import { StatsSeries } from './stats-series.js';
import { workerRoutes } from './workers.js';
import { workgroupRoutes } from './workgroups.js';

/** Headers for pages of other origins; browsers cache a preflight for this many seconds. */
const CORS_METHODS = 'GET, HEAD, POST, PUT, PATCH, DELETE';
const CORS_MAX_AGE = '600';
const CORS_EXPOSED = 'Location, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset';

/** Key under which the ledger stores the secret for identities of HTTP workers, so that all its Masters derive the same ones. */
const IDENTITY_NOTE = 'http worker identities';
const BODY_LIMIT = 1024 * 1024;
/** Budget for all request bodies being read or processed. */
const MAX_BODIES_BYTES = 256 * 1024 * 1024;
/** Added to the time that the bytes received so far may take on a slow connection. */
const DEFAULT_BODY_TIMEOUT_MS = 30_000;
const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const;

const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy':
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store',
};

/** The assembled API. */
export interface Api {
  readonly app: FastifyInstance;
  /** Serves the live events that foreign systems deliver by other means than HTTP, to clients of this server. */
  readonly attachLive: (server: Server) => void;
}

/**
 * Creates all routes with their checks, to be served alone or in a host app. Closing it ends streams and long polls. Rejects with
 * `package-missing`.
 */
export async function createApi(options: ApiOptions, server: FastifyServerOptions = {}): Promise<Api> {
  const { service } = options;
  const { fastify } = await optionalPackage('fastify');
  const app = fastify({
    ...server,
    logger: false,
    bodyLimit: BODY_LIMIT,
    // An id has up to 200 characters, each of which takes up to 12 in a URL.
    routerOptions: { maxParamLength: 2_500, ignoreTrailingSlash: false },
    ajv: {
      customOptions: {
        coerceTypes: false,
        removeAdditional: false,
        useDefaults: false,
        allErrors: false,
        discriminator: true,
        strict: false,
      },
    },
    frameworkErrors: (error, request, reply) => void sendProblem(request, reply, asProblem(error, service.log)),
  });
  const closing = new AbortController();
  const secret = await service.ledger.agree(IDENTITY_NOTE, randomBytes(32).toString('base64url'));
  const gate = new Gate(options, secret);
  const context: ApiContext = {
    service,
    options,
    gate,
    closing: closing.signal,
    feed: new EventFeed(service, options.heartbeatMs ?? 15_000),
    series: new StatsSeries(service),
  };
  app.addHook('preClose', async () => {
    closing.abort();
    context.feed.close();
    context.series.close();
  });
  // Responses are serialised as they are: the schemas only document them, and a test holds the two together.
  app.setSerializerCompiler(() => JSON.stringify);
  app.setErrorHandler((error, request, reply) => sendProblem(request, reply, asProblem(error, service.log)));
  addBodies(app);
  addMissing(app);
  await addGuards(app, options, gate);
  addSchemas(app);
  await addDocument(app);
  for (const routes of [
    jobRoutes,
    groupRoutes,
    channelRoutes,
    workgroupRoutes,
    scheduleRoutes,
    workerRoutes,
    leaseRoutes,
    resultRoutes,
    fileRoutes,
    eventRoutes,
    statsRoutes,
    healthRoutes,
  ])
    routes(app, context);
  metricsRoutes(app, context);
  dashboardRoutes(app, context);
  await docsRoutes(app);
  const foreign = (options.serve ?? []).flatMap(({ routes }) => routes?.({ service, gate }) ?? []);
  for (const one of foreign) {
    await one.register(app);
    app.addHook('preClose', () => one.close());
  }
  await app.ready();
  const attachLive = (server: Server) => {
    for (const one of foreign) one.attach?.(server, options.origins ?? []);
  };
  return { app, attachLive };
}

/** Serves one request of a host app, with its URL relative to the mount path. */
export function serve(app: FastifyInstance, request: IncomingMessage, response: ServerResponse): void {
  app.routing(request, response);
}

function addBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    const bytes = body as Buffer;
    if (bytes.length === 0) return done(null, undefined);
    try {
      done(null, parseJson(bytes, GIVEN_MESSAGE));
    } catch (thrown) {
      done(refusalOf(thrown as JsonRefused, 'the body'));
    }
  });
}

/** Responds with 404 or 405. */
function addMissing(app: FastifyInstance): void {
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?')[0] ?? '';
    const allowed = METHODS.filter((method) => matches(app, method, path));
    if (allowed.length === 0) return sendProblem(request, reply, new PeerworkError('route-unknown', path));
    reply.header('allow', allowed.join(', '));
    return sendProblem(request, reply, new PeerworkError('method-unknown', request.method));
  });
  app.addHook('onRoute', ({ url, method }) => {
    const pattern = new RegExp(
      `^${url
        .replace(/[.+?^${}()|[\]\\]/g, '\\$&')
        .replace(/:\w+/g, '[^/]+')
        .replace('*', '.*')}$`,
    );
    for (const one of [method].flat()) (known.get(app) ?? known.set(app, []).get(app))?.push({ method: one, pattern });
  });
}

const known = new WeakMap<FastifyInstance, { readonly method: string; readonly pattern: RegExp }[]>();

function matches(app: FastifyInstance, method: string, path: string): boolean {
  return known.get(app)?.some((route) => route.method === method && route.pattern.test(path)) ?? false;
}

/** Adds the checks in the order in which they run: headers, rate, scope, the time the body may take, and the types of the query. */
async function addGuards(app: FastifyInstance, options: ApiOptions, gate: Gate): Promise<void> {
  app.addHook('onRequest', async (_request, reply) => void reply.headers(HEADERS));
  addOrigins(app, options.origins ?? []);
  await app.register((await optionalPackage('@fastify/rate-limit')).default, {
    global: true,
    max: options.requestsPer10s ?? 20_000,
    timeWindow: 10_000,
    keyGenerator: (request) => gate.keyOf(request.raw),
    errorResponseBuilder: () => new PeerworkError('rate-limited'),
  });
  app.decorateRequest('granted');
  app.addHook('onRequest', async (request) => {
    const { demand = 'none' } = request.routeOptions.config as RouteConfig;
    if (demand === 'none') return;
    const granted: ReadonlySet<Scope> = await gate.scopesOf(request.raw);
    require(granted, demand);
    request.setDecorator('granted', granted);
  });
  const bodies = new ByteBudget(MAX_BODIES_BYTES);
  const timeoutMs = options.bodyTimeoutMs ?? DEFAULT_BODY_TIMEOUT_MS;
  app.addHook('preParsing', async (request, reply) => {
    if (request.headers['content-type']?.startsWith(NDJSON) || (request.routeOptions.config as RouteConfig).streamed === true) return;
    const bytes = announcedBytes(request);
    if (!bodies.take(bytes)) {
      reply.header('retry-after', '1').header('connection', 'close');
      throw new PeerworkError('rate-limited');
    }
    reply.raw.once('close', () => bodies.giveBack(bytes));
    const { socket } = request.raw;
    const [startedAt, readBefore] = [performance.now(), socket.bytesRead ?? 0];
    const check = () => {
      const remainingMs = startedAt + timeoutMs + carryMs((socket.bytesRead ?? 0) - readBefore) - performance.now();
      if (remainingMs > 1) {
        timer = setTimeout(check, remainingMs);
        return;
      }
      reply.header('connection', 'close');
      void sendProblem(request, reply, new PeerworkError('request-slow'));
      reply.raw.once('finish', () => request.raw.destroy());
    };
    let timer = setTimeout(check, timeoutMs);
    const stop = () => clearTimeout(timer);
    for (const event of ['end', 'close', 'error']) request.raw.once(event, stop);
    reply.raw.once('close', stop);
  });
  app.addHook('preValidation', async (request) => {
    moveQueryIdToParams(request);
    coerceQuery(request);
  });
}

/** Returns the declared length of the body, or the limit if none is declared. */
function announcedBytes({ headers, routeOptions }: FastifyRequest): number {
  const { bodyLimit = BODY_LIMIT } = routeOptions;
  const { 'content-length': length, 'transfer-encoding': encoding } = headers;
  return encoding === undefined ? Math.min(Number(length ?? 0) || 0, bodyLimit) : bodyLimit;
}

/** Handles `/v1/jobs/~?id=..`: URL parsers treat `..` in a path as a folder, and some proxies decode `%2F`. */
function moveQueryIdToParams({ params, query }: FastifyRequest): void {
  const { id } = query as { id?: unknown };
  if (typeof id !== 'string' || typeof params !== 'object' || params === null || !('id' in params)) return;
  params.id = id;
  delete (query as { id?: unknown }).id;
}

/** Query values are text: those that the schema declares as integer or boolean are converted, and nothing else is guessed. */
function coerceQuery(request: FastifyRequest): void {
  const schema = request.routeOptions.schema?.querystring as { readonly properties?: Readonly<Record<string, Schema>> } | undefined;
  const query = request.query as Record<string, unknown>;
  for (const [name, { type }] of Object.entries(schema?.properties ?? {})) {
    const value = query[name];
    if (typeof value !== 'string') continue;
    if (type === 'integer' && /^-?\d+$/.test(value)) query[name] = Number(value);
    if (type === 'boolean' && /^(true|false)$/.test(value)) query[name] = value === 'true';
  }
}

/**
 * Implements CORS as in the Fetch standard: pages of these origins may read responses, including errors, and send requests that are
 * not "simple". A preflight carries no token, so it is handled before authentication. Pages of other origins get no CORS header, so
 * their browser withholds the response from them. Throws `option-invalid` for an invalid origin.
 */
function addOrigins(app: FastifyInstance, origins: readonly string[]): void {
  for (const origin of origins)
    if (!URL.canParse(origin) || new URL(origin).origin !== origin)
      throw new PeerworkError('option-invalid', `${JSON.stringify(origin)} is no origin of web pages, such as http://localhost:3001`);
  if (origins.length === 0) return;
  app.addHook('onRequest', async (request, reply) => {
    reply.header('vary', 'Origin');
    const { origin = '', 'access-control-request-method': wanted, 'access-control-request-headers': named } = request.headers;
    if (!origins.includes(origin)) return;
    reply.header('access-control-allow-origin', origin).header('access-control-expose-headers', CORS_EXPOSED);
    if (request.method !== 'OPTIONS' || wanted === undefined) return;
    reply.header('access-control-allow-methods', CORS_METHODS).header('access-control-max-age', CORS_MAX_AGE);
    if (named !== undefined) reply.header('access-control-allow-headers', named);
    return reply.code(204).send();
  });
}
