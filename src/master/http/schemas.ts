import type { FastifyInstance } from 'fastify';
import { anyJson, cursor, exactly, flag, list, object, ref, type Schema, text, whole } from './route.js';

/** The shapes of the API that stand in several places; those that are sent to us are exact. */
const instant: Schema = { type: 'integer', description: 'Milliseconds since the epoch' };
const state: Schema = { type: 'string', enum: ['blocked', 'ready', 'leased', 'completed', 'failed', 'cancelled'] };
const number: Schema = { type: 'number' };
const nullable = (schema: Schema): Schema => ({ anyOf: [schema, { type: 'null' }] });
const oneOf = (...values: string[]): Schema => ({ type: 'string', enum: values });
const policy = oneOf('fail', 'wait', 'run');
const backoff = oneOf('exponential', 'fixed');
const worker = object({ id: text, name: text });
const error = object({ code: text, message: text, exitCode: { type: 'integer' }, cause: anyJson }, ['exitCode', 'cause']);
const name: Schema = { type: 'string', minLength: 1, maxLength: 200 };
const integer: Schema = { type: 'integer' };

const input = {
  id: name,
  data: anyJson,
  channel: name,
  priority: integer,
  timeoutMs: integer,
  attempts: integer,
  delayMs: integer,
  backoffMs: integer,
  backoff,
  runAt: instant,
  name: text,
  parentFailure: policy,
  workgroup: name,
  key: text,
  keyWindowMs: integer,
  weight: integer,
  seed: flag,
  requires: list(text),
  persistent: flag,
  meta: anyJson,
};

const summary = {
  id: text,
  name: text,
  channel: text,
  state,
  waiting: oneOf('delayed', 'group-paused', 'workgroup-held', 'workgroup-full', 'twin-runs'),
  group: text,
  workgroup: text,
  key: text,
  priority: integer,
  weight: number,
  attempts: object({ made: integer, allowed: integer }),
  lease: integer,
  worker,
  leaseUntil: instant,
  runAt: instant,
  createdAt: instant,
  startedAt: instant,
  finishedAt: instant,
  error,
  mergedWith: text,
};
const maybe = [
  'name',
  'waiting',
  'group',
  'workgroup',
  'key',
  'worker',
  'leaseUntil',
  'runAt',
  'startedAt',
  'finishedAt',
  'error',
  'mergedWith',
];

const shared: Readonly<Record<string, Schema>> = {
  Problem: object({ type: text, title: text, status: integer, code: text, detail: text, todo: text, instance: text }, ['instance']),
  JobInput: exactly({ ...input, group: name, parents: list(name) }, ['data']),
  ChildInput: exactly({ ...input, ref: text, parents: list(text) }, ['data']),
  AddedJob: object({ id: text, added: flag }),
  Ids: object({ ids: list(text) }),
  JobSummary: object(summary, maybe),
  JobRecord: object(
    {
      ...summary,
      data: anyJson,
      parents: list(text),
      children: list(text),
      parentFailure: policy,
      requires: list(text),
      seed: flag,
      persistent: flag,
      timeoutMs: integer,
      backoffMs: integer,
      backoff,
      meta: anyJson,
      settled: ref('SettledJob'),
    },
    [...maybe, 'timeoutMs', 'meta', 'settled'],
  ),
  SettledJob: object(
    {
      id: text,
      state: oneOf('completed', 'failed', 'cancelled'),
      output: anyJson,
      error,
      attempts: integer,
      worker: text,
      startedAt: instant,
      finishedAt: instant,
    },
    ['output', 'error', 'worker', 'startedAt'],
  ),
  JobChanges: exactly({
    name: nullable(text),
    data: anyJson,
    channel: name,
    priority: integer,
    runAt: nullable(instant),
    attemptsLeft: whole(0, 1_000_000),
    backoffMs: integer,
    backoff,
    workgroup: nullable(name),
    key: nullable(text),
    weight: whole(0, Number.MAX_SAFE_INTEGER),
    seed: flag,
    meta: anyJson,
  }),
  HistoryEntry: object({ seq: integer, at: instant, kind: oneOf('log', 'progress', 'error'), body: anyJson }),
  JobCounts: object({ blocked: integer, ready: integer, leased: integer, completed: integer, failed: integer, cancelled: integer }),
  GroupInput: exactly({
    name: text,
    paused: flag,
    parentFailure: policy,
    retainMs: nullable(whole(0, Number.MAX_SAFE_INTEGER)),
    meta: anyJson,
  }),
  GroupRecord: object(
    {
      id: text,
      name: text,
      paused: flag,
      parentFailure: policy,
      retainMs: integer,
      createdAt: instant,
      meta: anyJson,
      counts: ref('JobCounts'),
      progress: number,
    },
    ['retainMs', 'meta'],
  ),
  GroupGraph: object({
    nodes: list(object({ id: text, name: text, channel: text, state }, ['name'])),
    edges: list(list(integer, { minItems: 2, maxItems: 2 })),
    truncated: flag,
  }),
  ChannelRecord: object({ name: text, counts: ref('JobCounts') }),
  WorkgroupInput: exactly({ maxRunning: nullable(integer), rate: nullable(integer), periodMs: nullable(integer) }),
  WorkgroupRecord: object({ id: text, heldUntil: instant, maxRunning: integer, rate: integer, periodMs: integer, running: integer }, [
    'heldUntil',
    'maxRunning',
    'rate',
    'periodMs',
  ]),
  ScheduleInput: exactly({ cron: text, timeZone: text, missed: oneOf('skip', 'once', 'all'), paused: flag, job: { type: 'object' } }, [
    'cron',
    'job',
  ]),
  ScheduleRecord: object(
    {
      id: text,
      cron: text,
      timeZone: text,
      missed: oneOf('skip', 'once', 'all'),
      paused: flag,
      lastAt: instant,
      nextAt: instant,
      job: anyJson,
    },
    ['lastAt', 'nextAt'],
  ),
  Worker: object(
    { id: text, name: text, approvedAt: instant, revokedAt: instant, drainedAt: instant, connected: { type: 'object' }, jobs: list(text) },
    ['approvedAt', 'revokedAt', 'drainedAt', 'connected', 'jobs'],
  ),
  LeaseKey: exactly({ id: name, lease: whole(1, Number.MAX_SAFE_INTEGER) }, ['id', 'lease']),
  LeasedJob: object(
    {
      id: text,
      lease: integer,
      channel: text,
      data: anyJson,
      attempt: integer,
      timeoutMs: integer,
      parents: list(object({ id: text, channel: text, data: anyJson, output: anyJson })),
    },
    ['parents'],
  ),
  Outcome: {
    type: 'object',
    required: ['state'],
    discriminator: { propertyName: 'state' },
    oneOf: [
      exactly(
        {
          state: { const: 'completed' },
          output: anyJson,
          children: list(ref('ChildInput'), { maxItems: 10_000 }),
          childrenDelayMs: cursor,
          holdMs: cursor,
        },
        ['state', 'output'],
      ),
      exactly(
        {
          state: { const: 'failed' },
          error: exactly(
            {
              code: { type: 'string', maxLength: 60 },
              message: { type: 'string', maxLength: 8192 },
              exitCode: integer,
              cause: { type: 'object' },
            },
            ['code', 'message'],
          ),
          retry: flag,
          output: anyJson,
          holdMs: cursor,
        },
        ['state', 'error', 'retry'],
      ),
      exactly({ state: { const: 'released' }, reason: { type: 'string', maxLength: 200 } }, ['state', 'reason']),
    ],
  },
  Progress: {
    type: 'object',
    required: ['kind'],
    discriminator: { propertyName: 'kind' },
    oneOf: [
      exactly({ kind: { const: 'progress' }, value: anyJson }, ['kind', 'value']),
      exactly({ kind: { const: 'log' }, stream: oneOf('stdout', 'stderr', 'log'), line: { type: 'string', maxLength: 8192 } }, [
        'kind',
        'stream',
        'line',
      ]),
    ],
  },
};

export function addSchemas(app: FastifyInstance): void {
  for (const [id, schema] of Object.entries(shared)) app.addSchema({ $id: id, ...schema });
}
