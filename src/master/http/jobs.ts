import type { FastifyInstance } from 'fastify';
import { PeerworkError } from '../../errors.js';
import type { JobInput } from '../../job/job.js';
import { GIVEN_MESSAGE, MAX_MESSAGE_BYTES } from '../../job/limits.js';
import { type JsonRefused, parseJson } from '../../kit/json.js';
import type { JobChanges, JobFilter, JobState, Ledger, RedriveFilter } from '../../ledger/ledger.js';
import type { ApiContext } from './context.js';
import { NDJSON, openStream } from './ndjson.js';
import { PushStream } from './push-stream.js';
import { refusalOf } from './refused-json.js';
import { about, cursor, exactly, flag, idParams, integerBetween, known, list, object, ref, text, type WithId } from './route.js';

const QUOTE = 0x22;

const BACKSLASH = 0x5c;

const COMMA = 0x2c;

const OPEN_ARRAY = 0x5b;

const CLOSE_ARRAY = 0x5d;

const OPEN_OBJECT = 0x7b;

const CLOSE_OBJECT = 0x7d;

const TAG = 'jobs';
/** Candidates listed in the error for an ambiguous prefix. */
const MAX_SHOWN = 5;
/** Jobs in one list; larger pushes go as a stream. */
const MAX_JOBS = 100_000;
const filter = { channel: text, group: text, workgroup: text };
const ids = exactly({ ids: list({ type: 'string', minLength: 1, maxLength: 200 }, { maxItems: 10_000 }), prefix: flag }, ['ids']);
const byId = {
  params: idParams,
  query: { prefix: { ...flag, description: 'The id may be the beginning of one, as long as only one begins so' } },
};
const withId = { ...byId, response: ref('Ids') };

interface ListQuery extends JobFilter {
  readonly state?: JobState;
  readonly after?: string;
  readonly limit?: number;
  readonly oldestFirst?: boolean;
}

/** Adds `/v1/jobs`. */
export function jobRoutes(app: FastifyInstance, context: ApiContext): void {
  void app.register(async (scoped) => pushRoute(scoped, context));
  void app.register(async (scoped) => routes(scoped, context));
}

function routes(app: FastifyInstance, { service }: ApiContext): void {
  const { ledger, clock } = service;
  app.addHook('preHandler', async ({ params, query }) => {
    const named = params as { id?: string };
    if (named.id !== undefined && (query as { prefix?: boolean }).prefix === true) named.id = await fullId(ledger, named.id);
  });

  const query = {
    ...filter,
    state: { type: 'string', enum: ['blocked', 'ready', 'leased', 'completed', 'failed', 'cancelled'] },
    idPrefix: text,
    after: text,
    limit: integerBetween(1, 500),
    oldestFirst: flag,
  };
  const page = object({ jobs: list(ref('JobSummary')), next: text }, ['next']);
  app.get<{ Querystring: ListQuery & { access_token?: string } }>(
    '/v1/jobs',
    about('read', TAG, 'Jobs, page by page', { query, response: page }),
    ({ query }) => {
      const { after, limit = 50, oldestFirst, access_token: _, ...wanted } = query;
      return ledger.list(
        wanted,
        { limit, ...(after === undefined ? {} : { after }), ...(oldestFirst === undefined ? {} : { oldestFirst }) },
        clock.now(),
      );
    },
  );

  app.get<WithId>(
    '/v1/jobs/:id',
    about('read', TAG, 'One job, with all there is to know', { ...byId, response: ref('JobRecord') }),
    async ({ params }) => known(await ledger.get(params.id, clock.now()), 'job-unknown', params.id),
  );
  app.patch<WithId & { Body: JobChanges }>(
    '/v1/jobs/:id',
    about('work', TAG, 'Change a job that has not ended', {
      ...byId,
      body: ref('JobChanges'),
      response: ref('JobRecord'),
      bodyLimit: MAX_MESSAGE_BYTES,
    }),
    async ({ params, body }) => known(await ledger.change(params.id, body, clock.now()), 'job-unknown', params.id),
  );
  app.delete<WithId>(
    '/v1/jobs/:id',
    about('admin', TAG, 'Forget a job and all that descends from it', {
      ...byId,
      response: object({ deleted: { type: 'integer' } }),
    }),
    async ({ params: { id } }) => {
      const { deleted } = await ledger.delete([id], clock.now());
      if (deleted === 0) throw new PeerworkError('job-unknown', id);
      return { deleted };
    },
  );
  app.get<WithId & { Querystring: { after?: number; limit?: number } }>(
    '/v1/jobs/:id/history',
    about('read', TAG, 'Log lines, progress and errors of a job', {
      ...byId,
      query: { ...byId.query, after: cursor, limit: integerBetween(1, 500) },
      response: object({ entries: list(ref('HistoryEntry')) }),
    }),
    async ({ params: { id }, query: { after = 0, limit = 500 } }) => {
      const entries = await ledger.history(id, after, limit);
      if (entries.length === 0) known(await ledger.get(id), 'job-unknown', id);
      return { entries };
    },
  );

  /** If nothing changed, checks whether the id is known at all. */
  const changedIds = async (id: string, changed: readonly string[]) => {
    if (changed.length === 0) known(await ledger.get(id), 'job-unknown', id);
    return { ids: changed };
  };
  const cancel = (ids: readonly string[]) => service.cancel(ids);
  const retry = (ids: readonly string[]) => ledger.retry(ids, clock.now());
  for (const [verb, act] of [
    ['cancel', cancel],
    ['retry', retry],
  ] as const) {
    const what = verb === 'cancel' ? 'Cancel' : 'Retry';
    app.post<WithId>(`/v1/jobs/:id/${verb}`, about('work', TAG, `${what} a job`, withId), async ({ params: { id } }) =>
      changedIds(id, await act([id])),
    );
    app.post<{ Body: { ids: string[]; prefix?: boolean } }>(
      `/v1/jobs/${verb}`,
      about('work', TAG, `${what} jobs`, { body: ids, response: ref('Ids') }),
      async ({ body: { ids, prefix = false } }) => ({
        ids: await act(prefix ? await Promise.all(ids.map((id) => fullId(ledger, id))) : ids),
      }),
    );
  }
  app.post<WithId>('/v1/jobs/:id/reset', about('admin', TAG, 'Reset a job', withId), async ({ params: { id } }) => {
    known(await ledger.get(id), 'job-unknown', id);
    await ledger.reset([id], clock.now());
    return { ids: [id] };
  });
  app.post<{ Body: RedriveFilter & { limit?: number } }>(
    '/v1/jobs/redrive',
    about('admin', TAG, 'Failed jobs wait again, or cancelled ones, oldest first', {
      body: exactly({ ...filter, state: { type: 'string', enum: ['failed', 'cancelled'] }, limit: integerBetween(1, 1_000_000) }),
      response: object({ jobs: { type: 'integer' } }),
    }),
    async ({ body: { limit = 1_000, ...wanted } }) => ({ jobs: await ledger.redrive(wanted, limit, clock.now()) }),
  );
}

function pushRoute(app: FastifyInstance, { service, options }: ApiContext): void {
  app.removeContentTypeParser('application/json');
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    try {
      done(null, parsedList(body as Buffer));
    } catch (error) {
      done(error as Error);
    }
  });
  app.addContentTypeParser(NDJSON, (_request, payload, done) => done(null, payload));
  const facts = about('work', TAG, 'Push one job, several, or a stream of them', {
    query: { answers: { type: 'string', enum: ['all', 'problems'] } },
    bodyLimit: MAX_MESSAGE_BYTES,
    status: 201,
    response: object({ jobs: list(ref('AddedJob')) }),
  });
  const lineSchema = { type: 'object', description: '{id, added}, {line, problem}, and at last {summary: {added, known, refused}}' };
  const schema = {
    ...facts.schema,
    body: {
      content: {
        'application/json': { schema: { oneOf: [ref('JobInput'), list(ref('JobInput'))] } },
        [NDJSON]: { schema: { ...ref('JobInput') } },
      },
    },
    response: {
      ...(facts.schema?.response as object),
      200: { description: 'Of a stream: a line each', content: { [NDJSON]: { schema: lineSchema } } },
    },
  };
  // The ledger validates jobs itself; validating the schema as well would cost a second per million jobs.
  const validatorCompiler = ({ httpPart }: { readonly httpPart?: string }) => (httpPart === 'querystring' ? checkedPushQuery : () => true);
  const options_ = { ...facts, schema, validatorCompiler };
  app.post<{ Body: JobInput | readonly JobInput[]; Querystring: { answers?: string } }>('/v1/jobs', options_, async (request, reply) => {
    if (request.headers['content-type']?.startsWith(NDJSON)) {
      const replies = openStream(reply, NDJSON);
      const { streamIdleMs: idleMs = 60_000 } = options;
      await new PushStream({ service, source: request.raw, replies, problemsOnly: request.query.answers === 'problems', idleMs }).run();
      return reply;
    }
    // The ledger validates jobs and names the invalid field, so every way of pushing reports the same error.
    const { body } = request;
    if (body === undefined || body === null) throw new PeerworkError('request-invalid', 'there is no body');
    const list = Array.isArray(body) ? (body as readonly JobInput[]) : [body as JobInput];
    const jobs = await service.push(list);
    reply.code(201);
    return { jobs };
  });
}

/** Parses the body. Throws `request-invalid`, or `body-too-large` before the jobs of a list that is too long are created. */
function parsedList(bytes: Buffer): unknown {
  if (bytes.length === 0) return undefined;
  if (isLongerList(bytes, MAX_JOBS)) throw new PeerworkError('body-too-large', `more than ${MAX_JOBS} jobs in one list`);
  try {
    return parseJson(bytes, GIVEN_MESSAGE);
  } catch (thrown) {
    throw refusalOf(thrown as JsonRefused, 'the body');
  }
}

function checkedPushQuery(query: unknown): true | { readonly error: Error } {
  const { answers, access_token: _, ...others } = query as Readonly<Record<string, unknown>>;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) return { error: new PeerworkError('request-invalid', `there is no ${unknown.slice(0, 40)} in the query`) };
  if (answers === undefined || answers === 'all' || answers === 'problems') return true;
  return { error: new PeerworkError('request-invalid', 'answers is neither all nor problems') };
}

/** Returns the given id, or the only one with this prefix. Throws `job-unknown`, or `job-ambiguous` with some of the candidates. */
async function fullId(ledger: Ledger, given: string): Promise<string> {
  const found = await ledger.idsLike(given, MAX_SHOWN + 1);
  if (found.length === 1 || found[0] === given) return found[0] as string;
  if (found.length === 0) throw new PeerworkError('job-unknown', given);
  const shown = found.slice(0, MAX_SHOWN).map((id) => JSON.stringify(id));
  throw new PeerworkError('job-ambiguous', `${JSON.stringify(given)} may be ${shown.join(', ')}${found.length > MAX_SHOWN ? ' …' : ''}`);
}

/**
 * Whether a JSON text is a list of more than `max` entries, determined without creating them: parsing 11 MB into a million objects
 * blocks the event loop for a second, this scan for a twentieth of that. The result is meaningless for text that is not JSON.
 */
export function isLongerList(bytes: Uint8Array, max: number): boolean {
  let depth = 0;
  let commas = 0;
  let quoted = false;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (quoted) {
      if (byte === BACKSLASH) at += 1;
      else if (byte === QUOTE) quoted = false;
    } else if (byte === QUOTE) quoted = true;
    else if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) {
      // An object is one job, however many fields it has.
      if (depth === 0 && byte === OPEN_OBJECT) return false;
      depth += 1;
    } else if (byte === CLOSE_ARRAY || byte === CLOSE_OBJECT) depth -= 1;
    else if (byte === COMMA && depth === 1) {
      commas += 1;
      if (commas >= max) return true;
    }
  }
  return false;
}
