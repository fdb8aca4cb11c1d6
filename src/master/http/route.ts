import type {} from '@fastify/swagger';
import type { FastifyContextConfig, FastifyReply, FastifyRequest, RouteShorthandOptions } from 'fastify';
import { Deadline } from '../../kit/deadline.js';
import type { Demand } from './auth.js';

export type Schema = Readonly<Record<string, unknown>>;

export const text: Schema = { type: 'string' };
export const whole = (minimum: number, maximum: number): Schema => ({ type: 'integer', minimum, maximum });
export const flag: Schema = { type: 'boolean' };
export const anyJson: Schema = {};
export const list = (items: Schema, more: Schema = {}): Schema => ({ type: 'array', items, ...more });
export const ref = (name: string): Schema => ({ $ref: `${name}#` });
/** Of what is sent to us, where a field that is not known is an error. */
export const exactly = (properties: Readonly<Record<string, Schema>>, required: readonly string[] = []): Schema => ({
  type: 'object',
  additionalProperties: false,
  required,
  properties,
});
/** Of what we answer. */
export const object = (properties: Readonly<Record<string, Schema>>, optional: readonly string[] = []): Schema => ({
  type: 'object',
  required: Object.keys(properties).filter((name) => !optional.includes(name)),
  properties,
});
export const idParams: Schema = { type: 'object', required: ['id'], properties: { id: { type: 'string', minLength: 1, maxLength: 200 } } };
export const cursor: Schema = whole(0, Number.MAX_SAFE_INTEGER);

export interface WithId {
  Params: { readonly id: string };
}

/** What a route tells about itself. */
export interface RouteFacts {
  readonly params?: Schema;
  readonly query?: Readonly<Record<string, Schema>>;
  readonly body?: Schema;
  /** Of the one answer that is no problem; none: an empty 204. */
  readonly answer?: Schema;
  readonly status?: number;
  /** Of an answer that is not JSON. */
  readonly type?: string;
  /** Bytes of the body; default 1 MiB. */
  readonly bodyLimit?: number;
  /** The route reads its body as it comes. */
  readonly streamed?: boolean;
}

export interface RouteConfig {
  readonly demand?: Demand;
  /** Its body is handled as it comes, whatever its length. */
  readonly streamed?: boolean;
}

/** Fastify keeps what a route tells about itself, without knowing what it is. */
export function asConfig(config: RouteConfig): FastifyContextConfig {
  return config as FastifyContextConfig;
}

/** The options of a route: who may use it, and its part of the OpenAPI document. */
export function about(demand: Demand, tag: string, summary: string, facts: RouteFacts = {}): RouteShorthandOptions {
  const {
    params,
    query,
    body,
    answer,
    type = 'application/json',
    status = answer === undefined ? 204 : 200,
    bodyLimit,
    streamed = false,
  } = facts;
  const byId =
    params === idParams ? { id: { ...text, description: 'The id, where a path cannot hold it: then `~` stands in the path' } } : {};
  const good =
    answer === undefined ? { description: 'Done', type: 'null' } : { description: 'Done', content: { [type]: { schema: answer } } };
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
        [status]: good,
        default: { description: 'A problem', content: { 'application/problem+json': { schema: ref('Problem') } } },
      },
    },
  };
}

/** Aborts when the client has gone before it was answered, or the server closes. */
export function untilGone(_request: FastifyRequest, reply: FastifyReply, closing: AbortSignal): AbortSignal {
  const gone = new Deadline({ signals: [closing] });
  reply.raw.once('close', () => gone.abort());
  return gone.signal;
}
