import type { FastifyInstance } from 'fastify';
import { type FieldSpec, fieldSpec, jobFieldNames } from '../../job/job-fields.js';
import { MAX_ATTEMPTS, MAX_WEIGHT } from '../../job/limits.js';
import { anyJson, cursor, exactly, flag, integerBetween, list, object, ref, type Schema, text } from './route.js';

/** Shapes that several routes of the API share. Input schemas are exact. */
const instant: Schema = { type: 'integer', description: 'Milliseconds since the epoch' };
const state: Schema = { type: 'string', enum: ['blocked', 'ready', 'leased', 'completed', 'failed', 'cancelled'] };
const number: Schema = { type: 'number' };
const nullable = (schema: Schema): Schema => ({ anyOf: [schema, { type: 'null' }] });
const oneOf = (...values: string[]): Schema => ({ type: 'string', enum: values });
const policy = oneOf('fail', 'wait', 'run');
const worker = object({ id: text, name: text });
const error = object({ code: text, message: text, exitCode: { type: 'integer' }, cause: anyJson }, ['exitCode', 'cause']);
const name: Schema = { type: 'string', minLength: 1, maxLength: 200 };
const integer: Schema = { type: 'integer' };

const kinds = {
  text,
  texts: list(text),
  labels: list(text),
  integer,
  duration: { type: 'integer', description: 'Milliseconds' },
  instant,
  weight: number,
  flag,
  json: anyJson,
  files: {
    type: 'object',
    description: 'By name, a relative path: content that is in the file store',
    additionalProperties: exactly({ sha256: { type: 'string', pattern: '^[0-9a-f]{64}$' }, size: { type: 'integer', minimum: 0 } }, [
      'sha256',
      'size',
    ]),
  },
} as const;

function fieldSchema(spec: FieldSpec): Schema {
  return spec.kind === 'choice' ? oneOf(...spec.of) : kinds[spec.kind];
}

/** Includes the limits and default that the ledger applies. */
function limitedSchema(spec: FieldSpec): Schema {
  return { ...fieldSchema(spec), ...limitsOf(spec), ...(spec.default !== undefined && { default: spec.default }) };
}

function limitsOf(spec: FieldSpec): Schema {
  switch (spec.kind) {
    case 'text':
      return { minLength: 1, maxLength: spec.maxChars };
    case 'texts':
    case 'labels':
      return { items: { ...text, minLength: 1, maxLength: spec.maxChars }, maxItems: spec.max };
    case 'integer':
      return { minimum: spec.min, maximum: spec.max };
    case 'duration':
    case 'instant':
      return { minimum: 0, maximum: spec.max };
    case 'weight':
      return { minimum: 0, maximum: MAX_WEIGHT };
    default:
      return {};
  }
}

/** Builds schemas for the job fields selected by `says`. The ledger validates input values, and reports the field with its limits. */
function fields(matches: (spec: FieldSpec) => boolean, of = fieldSchema): Readonly<Record<string, Schema>> {
  return Object.fromEntries(jobFieldNames.flatMap((field) => (matches(fieldSpec(field)) ? [[field, of(fieldSpec(field))] as const] : [])));
}

const { group: _, ...childFields } = fields(() => true);
const summaryFields = fields(({ shown }) => shown === 'summary');
const recordFields = fields(({ shown }) => shown === 'record');
const optionalFields = jobFieldNames.filter((field) => {
  const { shown, required, default: preset } = fieldSpec(field);
  return shown !== undefined && required !== true && preset === undefined;
});

const summary = {
  id: text,
  ...summaryFields,
  state,
  waiting: oneOf('delayed', 'group-paused', 'workgroup-held', 'workgroup-full', 'duplicate-runs'),
  attempts: object({ made: integer, allowed: integer }),
  lease: integer,
  worker,
  leaseUntil: instant,
  createdAt: instant,
  startedAt: instant,
  finishedAt: instant,
  error,
  mergedWith: text,
};
const optional = ['waiting', 'worker', 'leaseUntil', 'startedAt', 'finishedAt', 'error', 'mergedWith', ...optionalFields];

const shared: Readonly<Record<string, Schema>> = {
  Problem: object({ type: text, title: text, status: integer, code: text, detail: text, hint: text, instance: text }, ['instance']),
  JobInput: exactly(
    fields(() => true, limitedSchema),
    ['data'],
  ),
  ChildInput: exactly({ ...childFields, ref: text, parents: list(text) }, ['data']),
  AddedJob: object({ id: text, added: flag }),
  Ids: object({ ids: list(text) }),
  JobSummary: object(summary, optional),
  JobRecord: object(
    {
      ...summary,
      ...recordFields,
      parents: list(text),
      children: list(text),
      settled: ref('SettledJob'),
    },
    [...optional.filter((field) => field !== 'parentFailure'), 'settled'],
  ),
  SettledJob: object(
    {
      id: text,
      state: oneOf('completed', 'failed', 'cancelled'),
      output: anyJson,
      files: kinds.files,
      error,
      attempts: integer,
      worker: text,
      startedAt: instant,
      finishedAt: instant,
    },
    ['output', 'files', 'error', 'worker', 'startedAt'],
  ),
  JobChanges: exactly({
    ...fields(
      ({ change }) => change !== undefined,
      (spec) => (spec.change === 'clear' ? nullable(fieldSchema(spec)) : fieldSchema(spec)),
    ),
    attemptsLeft: integerBetween(0, MAX_ATTEMPTS),
  }),
  HistoryEntry: object({ seq: integer, at: instant, kind: oneOf('log', 'progress', 'error'), body: anyJson }),
  JobCounts: object({ blocked: integer, ready: integer, leased: integer, completed: integer, failed: integer, cancelled: integer }),
  GroupInput: exactly({
    name: text,
    paused: flag,
    parentFailure: policy,
    retainMs: nullable(integerBetween(0, Number.MAX_SAFE_INTEGER)),
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
  LeaseKey: exactly({ id: name, lease: integerBetween(1, Number.MAX_SAFE_INTEGER) }, ['id', 'lease']),
  LeasedJob: object(
    {
      id: text,
      lease: integer,
      channel: text,
      data: anyJson,
      attempt: integer,
      timeoutMs: integer,
      parents: list(object({ id: text, channel: text, data: anyJson, output: anyJson })),
      files: kinds.files,
    },
    ['parents', 'files'],
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

/** Registers the shared schemas, so that routes can refer to them by name. */
export function addSchemas(app: FastifyInstance): void {
  for (const [id, schema] of Object.entries(shared)) app.addSchema({ $id: id, ...schema });
}
