import * as v from 'valibot';
import { describeError } from '../../../errors.js';
import type { Json } from '../../../job/job.js';
import { GIVEN_MESSAGE, MAX_JOB_DATA_BYTES, MAX_JOB_ID_CHARS, MAX_LOG_LINE_CHARS, MAX_MESSAGE_BYTES } from '../../../job/limits.js';
import { checked, type LeaseKey, outcome, type Settlement } from '../../../job/verbs.js';
import { type JsonRefused, parseJson } from '../../../kit/json.js';
import { outlineOf } from '../../../kit/json-outline.js';
import type { LeasedJob } from '../../../ledger/ledger.js';
import { storedJson } from '../../../ledger/stored-json.js';
import type { TransferKey } from '../protocol/transfer.js';

/** Result of the shim. */
const envelope = v.looseObject({ peerwork: v.literal(1), output: v.optional(v.custom<Json>(() => true)) });
const shimError = v.object({ message: v.string() });
/** Error of a Worker of ours whose run did not reach the shim. */
const sourceError = v.object({ error: v.object({ code: v.pipe(v.string(), v.maxLength(60)), message: v.string() }) });
const shared = v.object({
  /** Any JSON value or absent if a program shares a result that belongs to no job of ours. */
  jobID: v.optional(v.unknown()),
  worker: v.optional(v.object({ name: v.optional(v.string()) })),
  data: v.optional(v.custom<Json>(() => true)),
});

/**
 * Serializes and seals a job for a Worker. Its id on the wire includes the lease number, so that its result is fenced like any other, even
 * if another process of this Master receives it.
 */
export function sealJob(key: TransferKey, { id, lease, channel, data, attempt, parents }: LeasedJob): string {
  const parentValues =
    parents?.map((parent) => ({ ...parent, data: storedJson<Json>(parent.data), output: storedJson<Json>(parent.output) })) ?? [];
  const job = { id: `${lease} ${id}`, data: { id, channel, data: storedJson<Json>(data), attempt, parents: parentValues } };
  return JSON.stringify(key.seal(JSON.stringify(job)));
}

/** Seals a no-op job. Its result proves that the Worker has the key, before it is given any other job. */
export function sealHello(key: TransferKey, hello: string): string {
  return JSON.stringify(key.seal(JSON.stringify({ id: hello, data: { hello: true } })));
}

export interface SharedResult {
  readonly jobID: unknown;
  readonly worker: string | undefined;
  readonly data: Json;
}

/** Returns undefined if the text was not sealed with the key, or is not a result. */
export function openResult(key: TransferKey, text: unknown): SharedResult | undefined {
  const opened = key.openText(text) ?? '';
  const read = v.safeParse(shared, readResult(opened));
  if (!read.success) return undefined;
  const { jobID, worker, data = null } = read.output;
  return { jobID, worker: worker?.name, data };
}

function readResult(text: string): unknown {
  try {
    return parseJson(text, GIVEN_MESSAGE);
  } catch (thrown) {
    return refusedResult(text, (thrown as JsonRefused).message);
  }
}

/** Turns a result that is nested too deep, or has numbers that would be rounded, into an error of its job. */
function refusedResult(text: string, why: string): unknown {
  const outline = outlineOf(text, { maxBytes: MAX_MESSAGE_BYTES, maxDepth: 2 });
  if (typeof outline !== 'object' || outline === null) return undefined;
  const message = describeError('output-unsendable', why);
  return { ...outline, data: { error: { code: 'output-unsendable', message } } };
}

/** Returns undefined for an id that is not one of ours. */
export function leaseOf(jobID: unknown): LeaseKey | undefined {
  if (typeof jobID !== 'string') return undefined;
  const [, lease, id] = /^(\d{1,15}) ([\s\S]+)$/.exec(jobID) ?? [];
  return lease === undefined || id === undefined || id.length > MAX_JOB_ID_CHARS || lease === '0'
    ? undefined
    : { lease: Number(lease), id };
}

/** Converts the data of a result into an outcome; data that is not from our shim or source is a failure. */
export function outcomeOf(data: Json): Settlement['outcome'] {
  if (!v.is(envelope, data)) {
    const { code, message } = v.is(sourceError, data) ? data.error : { code: 'task-threw', message: 'the Worker’s response is not that' };
    return failed(code, message);
  }
  const { output = null, error, children, childrenDelayMs, holdMs } = data as { readonly [key: string]: Json };
  if (v.is(shimError, error)) return { ...failed('task-threw', error.message), ...(typeof holdMs === 'number' && { holdMs }) };
  if (Buffer.byteLength(JSON.stringify(output)) > MAX_JOB_DATA_BYTES)
    return { ...failed('output-too-large', `more than ${MAX_JOB_DATA_BYTES} bytes as JSON`), retry: false };
  try {
    return checked(outcome, { state: 'completed', output, children, childrenDelayMs, holdMs });
  } catch (thrown) {
    return failed('task-threw', thrown instanceof Error ? thrown.message : String(thrown));
  }
}

function failed(code: string, message: string) {
  return { state: 'failed', error: { code, message: message.slice(0, MAX_LOG_LINE_CHARS) }, retry: true } as const;
}
