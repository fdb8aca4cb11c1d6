import * as v from 'valibot';
import type { Json } from '../../../job/job.js';
import { type LogLevel, logLevels } from '../../../log.js';

/**
 * Schemas for the dory-api's responses, limited to the fields this Worker uses. Parsing is lenient: an unusable field counts as absent and
 * unknown fields are ignored. But a field that demands more, or sets a limit, is never altered; if it cannot be honoured, the run is
 * refused.
 */

const MAX_CONTAINERS = 1_000;

/** A field that counts as absent if it is invalid. */
const maybe = <const S extends v.GenericSchema>(schema: S) => v.optional(v.fallback(v.optional(schema), undefined));
const text = v.pipe(v.string(), v.minLength(1), v.maxLength(1_000));
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(MAX_CONTAINERS));
const positive = v.pipe(v.number(), v.finite(), v.gtValue(0));
const workerId = v.pipe(v.string(), v.minLength(1), v.maxLength(200));

/** A limit that must be honoured: absent or null, or a valid value; anything else is an error. */
const limit = <T>(schema: v.GenericSchema<T>, message: string) =>
  v.optional(
    v.pipe(
      v.unknown(),
      v.transform((value) => value ?? undefined),
      v.check((value) => value === undefined || v.is(schema, value), message),
      v.transform((value) => value as T | undefined),
    ),
  );

/** GET /api/runs/:id/config */
export const runConfig = v.object({
  actorConfig: v.custom<{ readonly [key: string]: Json }>((value) => typeof value === 'object' && value !== null && !Array.isArray(value)),
  dockerImage: maybe(text),
  containerCount: v.pipe(
    maybe(v.pipe(v.number(), v.integer(), v.minValue(1))),
    v.check((value) => value === undefined || value <= MAX_CONTAINERS, `more than ${MAX_CONTAINERS} containers`),
  ),
  memoryLimitMb: limit(v.pipe(v.number(), v.safeInteger(), v.minValue(1)), 'must be a whole number of MiB'),
  actorTimeoutSecs: limit(positive, 'must be a number of seconds above 0'),
  status: maybe(text),
});
export type RunConfig = v.InferOutput<typeof runConfig>;

/** Statuses of a run that has ended; any other status is to be run. */
const ENDED = new Set(['completed', 'succeeded', 'failed', 'cancelled', 'canceled', 'aborted', 'timed-out', 'timed_out']);
export const hasEnded = ({ status }: RunConfig) => status !== undefined && ENDED.has(status.toLowerCase());

const instant = v.union([v.number(), v.pipe(v.string(), v.isoTimestamp(), v.transform(Date.parse))]);
/** A participant is its Worker's id, or an object that also holds the time of its last heartbeat. */
const participant = v.union([
  v.pipe(
    workerId,
    v.transform((id) => ({ workerId: id, heartbeatAt: undefined })),
  ),
  v.object({ workerId, heartbeatAt: maybe(instant) }),
]);

/** GET /api/runs/active/distributed */
export const distributedRun = v.object({
  runId: text,
  coordinatorWorkerId: maybe(workerId),
  participants: v.fallback(v.array(participant), []),
  containerCount: maybe(count),
  /** Exit codes of the helpers that have left. */
  exits: v.fallback(v.array(v.object({ workerId, exitCode: v.number() })), []),
});
export type HelperExit = DistributedRun['exits'][number];
export type DistributedRun = v.InferOutput<typeof distributedRun>;
const list = v.array(v.fallback(v.nullable(distributedRun), null));
export const distributedRuns = v.pipe(
  v.union([
    list,
    v.pipe(
      v.object({ runs: list }),
      v.transform(({ runs }) => runs),
    ),
  ]),
  v.transform((runs) => runs.filter((run) => run !== null)),
);

/** Settings that the API serves and a running Worker follows. */
const settings = v.object({
  dockerImage: maybe(text),
  maxConcurrentRuns: maybe(count),
  containerCount: maybe(count),
  crawlerRedisUrl: maybe(v.pipe(text, v.url())),
  logLevel: maybe(v.picklist(logLevels)),
});
export interface OperationalSettings {
  readonly dockerImage?: string | undefined;
  readonly maxConcurrentRuns?: number | undefined;
  readonly containerCount?: number | undefined;
  readonly crawlerRedisUrl?: string | undefined;
  readonly logLevel?: LogLevel | undefined;
}

/** POST /api/workers/heartbeat */
export const heartbeatReply = v.object({
  /** Settings of all Workers, and by Worker id the overrides for one. */
  config: maybe(v.object({ ...settings.entries, workers: v.fallback(v.record(v.string(), v.fallback(settings, {})), {}) })),
  configVersion: maybe(v.union([v.string(), v.number()])),
  cancelled: v.fallback(v.array(v.string()), []),
});
export type HeartbeatReply = v.InferOutput<typeof heartbeatReply>;

/** POST /api/auth/login and /api/worker-keys */
export const loginReply = v.object({ token: text });
export const keyReply = v.object({ key: text, label: maybe(text) });
