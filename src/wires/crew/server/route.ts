import type { FastifyInstance, RouteShorthandOptions } from 'fastify';
import { type ErrorCode, PeerworkError } from '../../../errors.js';
import { MAX_MESSAGE_VALUES } from '../../../job/limits.js';
import { type JsonRefused, parseJson } from '../../../kit/json.js';
import type { Log } from '../../../log.js';
import type { Demand } from '../../../master/http/auth.js';
import { asProblem } from '../../../master/http/problems.js';
import { asConfig } from '../../../master/http/route.js';
import type { Sent } from './inputs.js';
import { Refusal } from './refusal.js';

export interface CrewRoute<Params = unknown> {
  Params: Params;
  Querystring: Readonly<Record<string, string | undefined>>;
  Body: Sent;
}

/** Route options: the scope that a client needs; crew's routes are left out of our own API docs. */
export function crewRoute(demand: Demand): RouteShorthandOptions {
  return { exposeHeadRoute: false, schema: { hide: true }, config: asConfig({ demand }) };
}

const BODY_LIMIT = 10 * 1024 * 1024;
const KEEPS_STATUS: ReadonlySet<string> = new Set<ErrorCode>([
  ...(['http-unauthorized', 'http-forbidden', 'rate-limited', 'rpc-overloaded', 'worker-revoked', 'worker-unapproved'] as const),
  ...(['body-too-large', 'media-type', 'request-slow'] as const),
]);

/**
 * Gives a scope crew's conventions for bodies and errors: a body of another media type is an empty object, and errors have a message only.
 */
export function crewConventions(app: FastifyInstance, log: Log): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer', bodyLimit: BODY_LIMIT }, (_request, body, done) => {
    try {
      if (body.length === 0) return done(null, {});
      const parsed = parseJson(body as Buffer, { maxBytes: BODY_LIMIT, maxItems: MAX_MESSAGE_VALUES, exact: true });
      if (typeof parsed === 'object' && parsed !== null) return done(null, parsed);
      // As in crew, whose body parser accepts nothing else.
      done(new Refusal('the body is neither an object nor a list', 400));
    } catch (thrown) {
      const { reason, message } = thrown as JsonRefused;
      done(new Refusal(reason === 'malformed' ? 'the body is no JSON' : message, reason === 'too-many' ? 413 : 400));
    }
  });
  app.addContentTypeParser('*', { bodyLimit: BODY_LIMIT }, (_request, payload, done) => {
    payload.resume();
    payload.on('end', () => done(null, {}));
    payload.on('error', done);
  });
  app.addHook('preValidation', async (request) => {
    request.body ??= {};
  });
  app.setErrorHandler((error, _request, reply) => {
    if (error instanceof Refusal) return reply.code(error.status).send({ message: error.message });
    const { code, message, status } = asProblem(error, log);
    // Authorization, rate limit and body errors keep their status; everything else is 500, as in crew.
    return reply.code(KEEPS_STATUS.has(code) || !(error instanceof PeerworkError) ? status : 500).send({ message });
  });
}

/** Reads `limit` and `skip` from a query; a limit of 0 or less means unlimited. */
export function pageOf(
  query: Readonly<Record<string, string | undefined>>,
  defaultLimit: number,
): { readonly limit: number; readonly skip: number } {
  const integer = (text: string | undefined, fallback: number) => {
    const value = Number.parseInt(text ?? '', 10);
    return Number.isSafeInteger(value) ? value : fallback;
  };
  const limit = integer(query['limit'], defaultLimit);
  return { limit: limit <= 0 ? Number.POSITIVE_INFINITY : limit, skip: Math.max(0, integer(query['skip'], 0)) };
}
