import type {} from '@fastify/swagger';
import type { FastifyContextConfig, FastifyReply, FastifyRequest, RouteShorthandOptions } from 'fastify';
import { type ErrorCode, PeerworkError } from '../../errors.js';
import { Deadline } from '../../kit/deadline.js';
import type { Demand } from './auth.js';

export type Schema = Readonly<Record<string, unknown>>;

export const text: Schema = { type: 'string' };
export const integerBetween = (minimum: number, maximum: number): Schema => ({ type: 'integer', minimum, maximum });
export const flag: Schema = { type: 'boolean' };
export const anyJson: Schema = {};
export const list = (items: Schema, more: Schema = {}): Schema => ({ type: 'array', items, ...more });
export const ref = (name: string): Schema => ({ $ref: `${name}#` });
/** Schema of input, in which unknown fields are errors. */
export const exactly = (properties: Readonly<Record<string, Schema>>, required: readonly string[] = []): Schema => ({
  type: 'object',
  additionalProperties: false,
  required,
  properties,
});
/** Schema of output. */
export const object = (properties: Readonly<Record<string, Schema>>, optional: readonly string[] = []): Schema => ({
  type: 'object',
  required: Object.keys(properties).filter((name) => !optional.includes(name)),
  properties,
});
export const idParams: Schema = { type: 'object', required: ['id'], properties: { id: { type: 'string', minLength: 1, maxLength: 200 } } };
export const cursor: Schema = integerBetween(0, Number.MAX_SAFE_INTEGER);

export interface WithId {
  Params: { readonly id: string };
}

/** A route's contribution to the OpenAPI document. */
export interface RouteFacts {
  readonly params?: Schema;
  readonly query?: Readonly<Record<string, Schema>>;
  readonly body?: Schema;
  /** Schema of the successful response; if undefined, an empty 204. */
  readonly response?: Schema;
  readonly status?: number;
  /** Media type of a response that is not JSON. */
  readonly type?: string;
  /** Maximum size of the body in bytes; default 1 MiB. */
  readonly bodyLimit?: number;
  /** The route reads its body as it comes. */
  readonly streamed?: boolean;
}

export interface RouteConfig {
  readonly demand?: Demand;
  /** Its body is handled as it comes, whatever its length. */
  readonly streamed?: boolean;
}

/** Fastify stores the config of a route without knowing its type. */
export function asConfig(config: RouteConfig): FastifyContextConfig {
  return config as FastifyContextConfig;
}

/** Builds the options of a route: the required scope and its part of the OpenAPI document. */
export function about(demand: Demand, tag: string, summary: string, facts: RouteFacts = {}): RouteShorthandOptions {
  const {
    params,
    query,
    body,
    response,
    type = 'application/json',
    status = response === undefined ? 204 : 200,
    bodyLimit,
    streamed = false,
  } = facts;
  const byId =
    params === idParams ? { id: { ...text, description: 'The id, where a path cannot hold it: then `~` stands in the path' } } : {};
  const success =
    response === undefined ? { description: 'Done', type: 'null' } : { description: 'Done', content: { [type]: { schema: response } } };
  return {
    ...(bodyLimit === undefined ? {} : { bodyLimit }),
    exposeHeadRoute: false,
    config: asConfig({ demand, streamed }),
    schema: {
      tags: [tag],
      summary,
      ...(params === undefined ? {} : { params }),
      ...(query === undefined && params !== idParams ? {} : { querystring: exactly({ ...byId, ...query, access_token: text }) }),
      ...(body === undefined ? {} : { body }),
      ...(demand === 'none' ? { security: [] } : {}),
      response: {
        [status]: success,
        default: { description: 'A problem', content: { 'application/problem+json': { schema: ref('Problem') } } },
      },
    },
  };
}

/** Returns what a look-up by id found; throws this error if it found nothing. */
export function known<T>(found: T | undefined, code: ErrorCode, id: string): T {
  if (found === undefined) throw new PeerworkError(code, id);
  return found;
}

/** Returns a signal that aborts when the client disconnects or the server closes. */
export function disconnectSignal(_request: FastifyRequest, reply: FastifyReply, closing: AbortSignal): AbortSignal {
  const disconnected = new Deadline({ signals: [closing] });
  reply.raw.once('close', () => disconnected.abort());
  return disconnected.signal;
}
