import * as v from 'valibot';
import { PeerworkError } from '../errors.js';
import type { ErrorPart } from '../kit/error-parts.js';
import { fileRef, jobFilesSchema } from './files.js';
import type { ChildInput, Json, Outcome, ParentOutput } from './job.js';
import {
  MAX_CHANNEL_CHARS,
  MAX_CHILDREN,
  MAX_CONCURRENCY,
  MAX_INSTANT,
  MAX_JOB_ID_CHARS,
  MAX_LABEL_CHARS,
  MAX_LABELS,
  MAX_LOG_LINE_CHARS,
  MAX_MESSAGE_BYTES,
  MAX_PARENTS,
  MAX_REPORTS,
} from './limits.js';

/**
 * The verbs that Master and Worker exchange, with the shapes of their arguments and answers. A verb that means the same as in queue-xec has
 * the same name. Both sides validate what they receive against these schemas: neither trusts the other.
 *
 * | verb | from | kind | meaning |
 * |---|---|---|---|
 * | isMaster | worker | call | the first call: identifies the worker and lists the leases that it still holds |
 * | ping | worker | call | the beat: renews all leases, reports which runs have not begun or have ended, learns which leases are lost |
 * | requestExecAssets | worker | call | fetches the signed manifest of a task version |
 * | requestBlob | worker | stream | fetches the bytes of one file from an offset |
 * | requestFile | worker | stream | fetches the bytes of a file of a leased job from an offset |
 * | openTunnel | worker | stream, both ways | opens a connection to the address that the job's task names |
 * | requestWork | worker | call | waits for jobs; a newer call ends the older one empty, capacity 0 does only that; reports changed kinds |
 * | shareResults | worker | call | delivers outcomes, each answered individually |
 * | uploadResult | worker | stream, both ways | delivers one large outcome: the Master names the first byte it lacks, then the result |
 * | uploadFile | worker | stream, both ways | delivers the content of a file that a run made, from the first byte that the Master lacks |
 * | report | worker | call | delivers progress and log lines of running jobs; answered once they are stored |
 * | cancelWork | master | note | stops a run: its outcome no longer counts |
 */

const jsonValue = v.custom<Json>((value) => value !== undefined);
const jobId = v.pipe(v.string(), v.minLength(1), v.maxLength(MAX_JOB_ID_CHARS));
const leaseNumber = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const instant = v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(MAX_INSTANT));
const hash = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const MAX_BATCH = 10_000;

/** A job with the lease number under which it was claimed: the fence for every message about the run. */
export const leaseKey = v.object({ id: jobId, lease: leaseNumber });
export type LeaseKey = v.InferOutput<typeof leaseKey>;

/** Returns a text that identifies the lease, for maps and sets. */
export function leaseKeyOf({ id, lease }: LeaseKey): string {
  return `${lease} ${id}`;
}

/** The same among the leases of several Workers. */
export function workerLeaseKeyOf(workerId: string, key: LeaseKey): string {
  return `${workerId} ${leaseKeyOf(key)}`;
}

const runnerKind = v.pipe(v.string(), v.maxLength(40));
const tunnelName = v.pipe(v.string(), v.maxLength(40));
const labels = v.pipe(v.array(v.pipe(v.string(), v.maxLength(MAX_LABEL_CHARS))), v.maxLength(MAX_LABELS));
const runnerKinds = v.pipe(v.array(runnerKind), v.maxLength(20));
const leaseKeys = v.pipe(v.array(leaseKey), v.maxLength(MAX_BATCH));

export const isMasterArgs = v.object({
  version: v.pipe(v.string(), v.maxLength(40)),
  concurrency: v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(MAX_CONCURRENCY)),
  /** For the owner: how jobs are isolated, and which policy is in force. */
  isolation: v.pipe(v.string(), v.maxLength(200)),
  /** Isolation of task modules on this worker: `bwrap`, or `process`, which is no wall. Absent: a Worker older than this field. */
  tier: v.exactOptional(v.pipe(v.string(), v.regex(/^[a-z-]{1,20}$/))),
  platform: v.pipe(v.string(), v.maxLength(100)),
  /** Labels for `requires`: `arch=…`, `os=…`, and the owner's. */
  labels: v.optional(labels, []),
  /** The kinds of jobs that the worker can run so far. */
  runners: v.optional(runnerKinds, ['task-module']),
  /** New with each start of the worker's process: distinguishes a restart from a reconnect. */
  instance: v.pipe(v.string(), v.maxLength(40)),
  holding: leaseKeys,
});
export const isMasterAnswer = v.object({
  isMaster: v.literal('yes'),
  name: v.pipe(v.string(), v.maxLength(64)),
  version: v.pipe(v.string(), v.maxLength(40)),
  leaseMs: v.pipe(v.number(), v.safeInteger(), v.minValue(100)),
  beatMs: v.pipe(v.number(), v.safeInteger(), v.minValue(20)),
  lost: leaseKeys,
});

/**
 * `waiting`: leases whose runs have not begun. `ended`: leases whose outcomes are in transit. The run time of all others counts. `answers`:
 * the number of answers to `requestWork` received over this link; jobs of later answers are not listed yet.
 */
export const pingArgs = v.object({
  holding: leaseKeys,
  waiting: v.optional(leaseKeys, []),
  ended: v.optional(leaseKeys, []),
  answers: v.exactOptional(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
});
export const pingAnswer = v.object({ pong: v.literal(true), lost: leaseKeys });

export const requestExecAssetsArgs = v.object({ digest: hash });
export const requestExecAssetsAnswer = v.object({ body: v.string(), signature: v.string(), publisher: v.string() });

export const requestBlobArgs = v.object({ sha256: hash, offset: v.pipe(v.number(), v.safeInteger(), v.minValue(0)) });

/** A file of the job that the Worker runs under this lease. */
export const requestFileArgs = v.object({ ...leaseKey.entries, sha256: hash, offset: v.pipe(v.number(), v.safeInteger(), v.minValue(0)) });

/** The Worker names only the run; the Master decides where the tunnel leads. */
export const openTunnelArgs = leaseKey;

export const requestWorkArgs = v.object({
  capacity: v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(MAX_BATCH)),
  /** Replaces what `isMaster` reported, because a runner became ready. */
  can: v.exactOptional(v.object({ labels, runners: runnerKinds })),
});
const parentOutput = v.object({
  id: jobId,
  channel: v.string(),
  data: jsonValue,
  output: jsonValue,
  files: v.exactOptional(jobFilesSchema),
}) as v.GenericSchema<unknown, ParentOutput>;
export const workItem = v.object({
  id: jobId,
  lease: leaseNumber,
  channel: v.pipe(v.string(), v.maxLength(MAX_CHANNEL_CHARS)),
  data: jsonValue,
  attempt: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  timeoutMs: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  runner: runnerKind,
  /** Absent if the job has none. */
  parents: v.optional(v.pipe(v.array(parentOutput), v.maxLength(MAX_PARENTS))),
  /** Absent if the job has none. */
  files: v.exactOptional(jobFilesSchema),
  /** The exact version of the task for this run. */
  digest: hash,
  /** The tunnel that the task names; absent if it needs none. */
  tunnel: v.exactOptional(tunnelName),
});
export type WorkItem = v.InferOutput<typeof workItem>;
export const requestWorkAnswer = v.object({ work: v.pipe(v.array(workItem), v.maxLength(MAX_BATCH)) });

/** The ledger keeps only the parts that have the shape of an error, within its limits. */
const errorPart = v.custom<ErrorPart>((value) => typeof value === 'object' && value !== null);
const jobError = v.object({
  code: v.pipe(v.string(), v.maxLength(60)),
  message: v.pipe(v.string(), v.maxLength(MAX_LOG_LINE_CHARS)),
  exitCode: v.exactOptional(v.pipe(v.number(), v.safeInteger())),
  cause: v.exactOptional(errorPart),
});
/** Not limited here: too long a value fails the run rather than the call, so that the task's author sees the error. */
const wait = v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0)));
/** The ledger validates the rest, with messages for the task's author. */
const children = v.pipe(
  v.array(v.custom<ChildInput>((child) => typeof child === 'object' && child !== null)),
  v.maxLength(MAX_CHILDREN),
  v.readonly(),
);
/** Typed explicitly because the inferred type is too deep for declarations. */
export const outcome: v.GenericSchema<unknown, Outcome> = v.variant('state', [
  v.object({
    state: v.literal('completed'),
    output: jsonValue,
    files: v.optional(jobFilesSchema),
    children: v.optional(children),
    childrenDelayMs: wait,
    holdMs: wait,
  }),
  v.object({
    state: v.literal('failed'),
    error: jobError,
    retry: v.boolean(),
    output: v.exactOptional(jsonValue),
    files: v.optional(jobFilesSchema),
    holdMs: wait,
  }),
  v.object({ state: v.literal('released'), reason: v.pipe(v.string(), v.maxLength(200)) }),
]) as never;
export const progress = v.variant('kind', [
  v.object({ kind: v.literal('progress'), value: jsonValue }),
  v.object({
    kind: v.literal('log'),
    stream: v.picklist(['stdout', 'stderr', 'log']),
    line: v.pipe(v.string(), v.maxLength(MAX_LOG_LINE_CHARS)),
  }),
]);
/** A report of a run. Reports are numbered from 1 so that duplicates count once; reports that are sent only once have no number. */
const report = v.object({ n: v.exactOptional(v.pipe(v.number(), v.safeInteger(), v.minValue(1))), progress });
export type Report = v.InferOutput<typeof report>;
export const reportArgs = v.object({
  reports: v.pipe(v.array(v.object({ id: jobId, lease: leaseNumber, ...report.entries })), v.maxLength(MAX_REPORTS)),
});

export const settlement = v.object({
  id: jobId,
  lease: leaseNumber,
  outcome,
  startedAt: instant,
  finishedAt: instant,
  /** The run's reports that are not known to be stored; recorded together with the outcome. */
  reports: v.exactOptional(v.pipe(v.array(report), v.maxLength(MAX_REPORTS))),
});
/** An outcome in transit to the ledger. */
export type Settlement = v.InferOutput<typeof settlement>;
export const shareResultsArgs = v.object({ results: v.pipe(v.array(settlement), v.maxLength(MAX_BATCH)) });
/**
 * `settled` now, `duplicate` of one already recorded under the same lease, or `stale`. After any of them the worker can forget the outcome.
 */
export const settleAnswer = v.picklist(['settled', 'duplicate', 'stale']);
export type SettleAnswer = v.InferOutput<typeof settleAnswer>;
/** Announces an upload by the hash and length of the settlement's JSON text in UTF-8. */
export const uploadResultArgs = v.object({
  id: jobId,
  lease: leaseNumber,
  sha256: hash,
  bytes: v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(MAX_MESSAGE_BYTES)),
  /** Set for a failed run with partial output, which is kept if the job was cancelled: accepted although the lease is over. */
  late: v.exactOptional(v.boolean()),
});
export type UploadResult = v.InferOutput<typeof uploadResultArgs>;
/** Lines of JSON: first the offset from which the Master wants the text, unless it does not want it, then the result. */
export const uploadResultAnswer = v.variant('kind', [
  v.object({ kind: v.literal('from'), offset: v.pipe(v.number(), v.safeInteger(), v.minValue(0)) }),
  v.object({ kind: v.literal('answer'), answer: settleAnswer }),
]);
export type UploadResultAnswer = v.InferOutput<typeof uploadResultAnswer>;
/** Announces the content of a file that a leased job's run made. */
export const uploadFileArgs = v.object({ ...leaseKey.entries, file: fileRef });
/** A line of JSON: how much of the content the Master has. Sent first, so that the upload continues there, and again when it has all. */
export const uploadFileAnswer = v.object({ length: v.pipe(v.number(), v.safeInteger(), v.minValue(0)), complete: v.boolean() });
export type UploadFileAnswer = v.InferOutput<typeof uploadFileAnswer>;
export const shareResultsAnswer = v.object({ answers: v.array(settleAnswer) });

export const cancelWorkArgs = v.object({ leases: leaseKeys });

/** Validates a value received from a peer; throws `rpc-invalid` naming the first invalid part. */
export function checked<const S extends v.GenericSchema>(schema: S, received: unknown): v.InferOutput<S> {
  const result = v.safeParse(schema, received, { abortEarly: true });
  if (result.success) return result.output;
  const issue = result.issues[0];
  throw new PeerworkError('rpc-invalid', `${v.getDotPath(issue) ?? 'the value'}: ${issue.message}`);
}
