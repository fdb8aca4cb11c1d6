import * as v from 'valibot';
import type { ChildInput, Json, Progress } from '../../job/job.js';
import { MAX_CHILDREN, MAX_DELAY_MS, MAX_JOB_DATA_BYTES, MAX_MESSAGE_VALUES, VALUE_LIMITS } from '../../job/limits.js';
import { errorPart } from '../../kit/error-parts.js';
import { formatJson, type JsonLimits, type JsonRefused, MAX_VALUE_DEPTH, parseJson } from '../../kit/json.js';
import type { ChildLine } from './child/wire.js';

export const MAX_LINE_BYTES = MAX_JOB_DATA_BYTES + 64 * 1024;

const number = v.number();
const json = v.custom<Json>((value) => value !== undefined);
const progress = v.custom<Progress>((value) => typeof value === 'object' && value !== null && 'kind' in value);
/** Codes that a child may report for a failed job; any other is the task's invention. */
const failureCode = v.fallback(v.picklist(['task-threw', 'output-unsendable', 'output-too-large', 'crashed', 'memory']), 'task-threw');

const wait = v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(MAX_DELAY_MS));
const child = v.custom<ChildInput>((value) => typeof value === 'object' && value !== null);
const asks = v.object({
  children: v.exactOptional(v.pipe(v.array(child), v.maxLength(MAX_CHILDREN))),
  childrenDelayMs: v.exactOptional(wait),
  holdMs: v.exactOptional(wait),
});

/** Sanitises values of the shape of an error, within its limits. */
const details = v.pipe(
  v.unknown(),
  v.transform((value) => errorPart(value) ?? null),
);

const childLine = v.union([
  v.strictTuple([v.literal('ready')]),
  v.strictTuple([v.literal('worn')]),
  v.strictTuple([v.literal('unloadable'), v.string(), details]),
  v.strictTuple([v.literal('failed'), number, number, failureCode, v.string(), v.boolean(), v.nullable(wait), details]),
  v.strictTuple([v.literal('back'), number]),
  v.strictTuple([v.literal('out'), number]),
  v.strictTuple([v.literal('report'), number, v.array(progress)]),
  v.strictTuple([v.literal('bye'), number]),
  v.strictTuple([v.literal('completed'), number, number, json]),
  v.strictTuple([v.literal('completed'), number, number, json, asks]),
]);

/** `["completed", number, tookMs, output]` is one level deeper than its output; nearly all lines pass this. */
const LINE_LIMITS: JsonLimits = { maxBytes: MAX_LINE_BYTES, maxDepth: MAX_VALUE_DEPTH + 1, maxItems: MAX_MESSAGE_VALUES };
/** The data of children is four levels deep in a line. */
const DEEP_LINE_LIMITS: JsonLimits = { ...LINE_LIMITS, maxDepth: MAX_VALUE_DEPTH + 4 };

/** Parses one line of a child, which the task may have forged; returns the reason if it is invalid. */
export function readChildLine(text: string): ChildLine | string {
  let line: unknown;
  let deep = false;
  try {
    line = parseJson(text, LINE_LIMITS);
  } catch (thrown) {
    if ((thrown as JsonRefused).reason !== 'too-deep') return faultOf(thrown);
    try {
      line = parseJson(text, DEEP_LINE_LIMITS);
      deep = true;
    } catch (again) {
      return faultOf(again);
    }
  }
  if (Array.isArray(line) && line[0] === 'completed' && (deep || text.length > MAX_JOB_DATA_BYTES / 3)) line = withinLimits(line);
  // Fast path for the line of almost every job.
  if (Array.isArray(line) && line[0] === 'completed' && line.length === 4 && typeof line[1] === 'number' && typeof line[2] === 'number')
    return ['completed', line[1], line[2], line[3]];
  const { success, output } = v.safeParse(childLine, line);
  return success ? output : UNREADABLE;
}

/** Enforces the limits of an output again, because a task can bypass the process around it. */
function withinLimits(line: readonly unknown[]): readonly unknown[] {
  try {
    formatJson(line[3], VALUE_LIMITS);
    return line;
  } catch (thrown) {
    const { reason, message } = thrown as JsonRefused;
    return ['failed', line[1], line[2], reason === 'too-large' ? 'output-too-large' : 'output-unsendable', message, false, null, null];
  }
}

const UNREADABLE = 'a line that cannot be read';

function faultOf(thrown: unknown): string {
  const { reason, message } = thrown as JsonRefused;
  return reason === 'malformed' ? UNREADABLE : message;
}
