import { type ChildInput, DEFAULT_CHANNEL, type JobInput, type Json } from '../../../job/job.js';
import { isWeight } from '../../../job/kinds.js';
import { MAX_ATTEMPTS, MAX_BACKOFF_MS, MAX_DELAY_MS, MAX_PRIORITY, MAX_WEIGHT } from '../../../job/limits.js';
import type { JobChanges, JobRecord } from '../../../ledger/ledger.js';
import { type Fields, isFields } from '../fields.js';
import { isName, withAsSent } from './as-sent.js';
import { MALFORMED_ID, objectId } from './object-id.js';
import { refuse } from './refusal.js';

/**
 * Requests of crew clients, converted into our inputs. crew validates almost nothing and stores what it is given, so we accept the same,
 * keeping the client's original value where the ledger normalizes it. A value that cannot be stored faithfully is refused like any other
 * error of crew, with the name of the field; it is never replaced by an approximation.
 */
export type Sent = Fields;

type AsSentFields = Record<string, Json | undefined>;

const DEFAULT_ATTEMPTS = 5;
const DEFAULT_ERROR_DELAY_MS = 30_000;
const MAX_SHOWN_CHARS = 60;

/** Fields that crew silently drops from a change of a task. */
const UNCHANGEABLE = new Set([
  ...['taskGroupId', 'isPaused', 'parentsComplete', 'isComplete', 'assignedTo', 'assignedAt'],
  ...['executeMessageId', 'examineMessageId', 'output', 'errors', 'createdAt'],
]);
const CHANGEABLE = new Set([
  ...['name', 'channel', 'workgroup', 'key', 'remainingAttempts', 'priority', 'runAfter', 'progressWeight'],
  ...['isSeed', 'errorDelayInSeconds', 'input'],
]);

/** Converts a new task of the given group. */
export function taskInput(sent: Sent, group: string, now: number): JobInput {
  const { parentIds } = sent;
  // crew's own error for this case: it iterates over the string and finds no ids.
  if (typeof parentIds === 'string' && parentIds !== '') throw refuse(MALFORMED_ID);
  if (parentIds && !Array.isArray(parentIds)) throw refuse('data.parentIds is not iterable');
  const parents = Array.isArray(parentIds) ? parentIds.map(String) : [];
  // crew inspects no parents and therefore considers all of them complete.
  const asSent: AsSentFields = Array.isArray(parentIds) && parents.length === 0 ? { parentsComplete: true } : {};
  return { ...common(sent, now, '', asSent), id: objectId(now), group, parents };
}

function common(sent: Sent, now: number, prefix: string, asSent: AsSentFields): Omit<JobInput, 'parents'> {
  const runAt = instantOf(sent, 'runAfter', now, prefix);
  const channel = textOf(sent, 'channel', prefix);
  const name = nameOf(sent, asSent);
  const [workgroup, key] = (['workgroup', 'key'] as const).map((field) => comparedText(sent, field, prefix, asSent, false));
  const weight = sent['progressWeight'] ? weightOf(sent, 'progressWeight', prefix) : 1;
  const backoffMs = 'errorDelayInSeconds' in sent ? errorDelayMs(sent, prefix, asSent) : DEFAULT_ERROR_DELAY_MS;
  const meta = withAsSent(undefined, asSent);
  return {
    channel: channel ?? DEFAULT_CHANNEL,
    data: (sent['input'] as Json | undefined) || null,
    attempts: integerOf(sent, 'remainingAttempts', 1, MAX_ATTEMPTS, prefix) ?? DEFAULT_ATTEMPTS,
    priority: integerOf(sent, 'priority', -MAX_PRIORITY, MAX_PRIORITY, prefix) ?? 0,
    weight,
    seed: sent['isSeed'] ? flagOf(sent, 'isSeed', prefix) : false,
    backoff: 'fixed',
    backoffMs,
    parentFailure: 'wait',
    ...(Object.keys(meta as object).length > 0 && { meta }),
    ...(runAt !== undefined && { runAt }),
    ...(name !== undefined && { name }),
    ...(workgroup !== undefined && { workgroup }),
    ...(key !== undefined && { key }),
  };
}

/**
 * Converts the children of a release; those with an `_id` exist already and are skipped. Siblings refer to each other by `_child_id` and
 * `_parent_ids`, in any order, and a number equals the text it prints as. `delayMs` (`childrenDelayInSeconds`) applies to children without
 * a start time of their own.
 */
export function childInputs(children: unknown, delayMs: number, now: number): ChildInput[] {
  if (!children) return [];
  if (!Array.isArray(children)) throw refuse(`children: ${shown(children)} is not a list of tasks`);
  return children.flatMap((sent: unknown, at): ChildInput[] => {
    if (!isFields(sent)) throw refuse(`children.${at}: ${shown(sent)} is not a task`);
    if (sent['_id']) return [];
    const ref = sent['_child_id'];
    const parents = sent['_parent_ids'];
    const { runAt, ...job } = common(
      sent,
      now,
      `children.${at}.`,
      Array.isArray(parents) && parents.length === 0 ? { parentsComplete: true } : {},
    );
    return [
      {
        ...job,
        id: objectId(now),
        ...(runAt !== undefined ? { runAt } : delayMs > 0 && { delayMs }),
        ...(ref !== undefined && ref !== null && { ref: String(ref) }),
        ...(Array.isArray(parents) && { parents: parents.map(String) }),
      },
    ];
  });
}

/**
 * Converts the body of a PUT. Fields that crew silently drops are dropped; fields that neither side knows are kept and shown, as in crew.
 */
export function taskChanges(sent: Sent, now: number, { id, meta, parents, channel: before }: JobRecord): JobChanges {
  const has = (field: string) => field in sent;
  const asSent: AsSentFields = {};
  for (const [field, value] of Object.entries(sent))
    if (!UNCHANGEABLE.has(field) && !CHANGEABLE.has(field) && field !== '_id' && field !== 'parentIds') asSent[field] = value as Json;
  if (has('_id') && sent['_id'] !== id) throw invalidField('_id', sent['_id'], 'the id of the task, which never changes');
  if (has('parentIds') && JSON.stringify(sent['parentIds']) !== JSON.stringify(parents))
    throw invalidField('parentIds', sent['parentIds'], `as it is: ${JSON.stringify(parents)}`);
  const attemptsLeft = has('remainingAttempts') ? checkedInteger(sent, 'remainingAttempts', 0, MAX_ATTEMPTS) : undefined;
  const priority = has('priority') ? checkedInteger(sent, 'priority', -MAX_PRIORITY, MAX_PRIORITY) : undefined;
  const weight = has('progressWeight') ? weightOf(sent, 'progressWeight') : undefined;
  const channel = textOf(sent, 'channel');
  if (has('channel') && channel === undefined) throw invalidField('channel', sent['channel'], 'a text');
  const changes: JobChanges = {
    ...(has('name') && { name: nameOf(sent, asSent) ?? null }),
    ...(has('workgroup') && { workgroup: comparedText(sent, 'workgroup', '', asSent, true) ?? null }),
    ...(has('key') && { key: comparedText(sent, 'key', '', asSent, true) ?? null }),
    ...(has('runAfter') && { runAt: instantOf(sent, 'runAfter', now) ?? null }),
    ...(has('input') && { data: (sent['input'] as Json | undefined) ?? null }),
    ...(has('isSeed') && { seed: flagOf(sent, 'isSeed') }),
    ...(has('errorDelayInSeconds') && { backoffMs: errorDelayMs(sent, '', asSent), backoff: 'fixed' as const }),
    ...(channel !== undefined && channel !== before && { channel }),
    ...(attemptsLeft !== undefined && { attemptsLeft }),
    ...(priority !== undefined && { priority }),
    ...(weight !== undefined && { weight }),
  };
  const after = withAsSent(meta, asSent);
  return JSON.stringify(after) === JSON.stringify(meta ?? {}) ? changes : { ...changes, meta: after };
}

/** Returns `remainingAttempts` from the body of a retry or a reset, where crew also accepts numeric text; default 2. */
export function attemptsOf(sent: Sent): number {
  const value = sent['remainingAttempts'];
  const read = typeof value === 'string' && /^\s*\d+\s*$/.test(value) ? Number(value) : value;
  return integerOf({ remainingAttempts: read }, 'remainingAttempts', 1, MAX_ATTEMPTS) ?? 2;
}

/** Milliseconds of a number of seconds, or of numeric text; 0 if the field is absent or empty. */
export function delayMs(sent: Sent, field: string, maxMs: number, prefix = ''): number {
  const value = sent[field];
  if (!value) return 0;
  const ms = typeof value === 'number' || typeof value === 'string' ? Number(value) * 1_000 : Number.NaN;
  if (!(ms >= 0 && ms <= maxMs)) throw invalidField(prefix + field, value, `seconds from 0 to ${maxMs / 1_000}`);
  return Math.round(ms);
}

/** A value that is not a plain number of seconds is also kept as it was sent. */
function errorDelayMs(sent: Sent, prefix: string, asSent: AsSentFields): number {
  const value = sent['errorDelayInSeconds'];
  const ms = delayMs(sent, 'errorDelayInSeconds', MAX_BACKOFF_MS, prefix);
  asSent['errorDelayInSeconds'] = value === ms / 1_000 ? undefined : (value as Json);
  return ms;
}

/**
 * Parses a date text, or milliseconds since the epoch (which crash the original). Returns undefined for an instant in the past, which
 * delays nothing.
 */
function instantOf(sent: Sent, field: string, now: number, prefix = ''): number | undefined {
  const value = sent[field];
  if (!value) return undefined;
  const ms = typeof value === 'number' ? Math.round(value) : Date.parse(String(value));
  if (!(ms <= now + MAX_DELAY_MS)) throw invalidField(prefix + field, value, 'an instant within a year, such as 2030-01-31T12:00:00Z');
  return ms > now ? ms : undefined;
}

/** Returns undefined for the values crew treats as absent: 0, null and empty text. */
function integerOf(sent: Sent, field: string, min: number, max: number, prefix = ''): number | undefined {
  return sent[field] ? checkedInteger(sent, field, min, max, prefix) : undefined;
}

function checkedInteger(sent: Sent, field: string, min: number, max: number, prefix = ''): number {
  const value = sent[field];
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
  throw invalidField(prefix + field, value, `a whole number from ${min} to ${max}`);
}

function weightOf(sent: Sent, field: string, prefix = ''): number {
  const value = sent[field];
  if (typeof value === 'number' && isWeight(value)) return value;
  throw invalidField(prefix + field, value, `a number from 0 to ${MAX_WEIGHT} with at most six decimals`);
}

function flagOf(sent: Sent, field: string, prefix = ''): boolean {
  const value = sent[field];
  if (typeof value !== 'boolean') throw invalidField(prefix + field, value, 'true or false');
  return value;
}

/** Returns the name if the ledger accepts it; any other value is kept as it was sent. */
function nameOf(sent: Sent, asSent: AsSentFields): string | undefined {
  const value = sent['name'];
  asSent['name'] = isName(value) || value === undefined || value === null ? undefined : (value as Json);
  return isName(value) ? value : undefined;
}

/**
 * Reads a text that is compared with the same field of other tasks. A number is compared by the text it prints as, and shown as it was
 * sent. An empty value counts as absent in a new task but is kept in a change.
 */
function comparedText(sent: Sent, field: string, prefix: string, asSent: AsSentFields, keepsEmpty: boolean): string | undefined {
  const value = sent[field];
  const text = textOf(sent, field, prefix);
  const isKept = text === undefined ? keepsEmpty && value !== null && value !== undefined : text !== value;
  asSent[field] = isKept ? (value as Json) : undefined;
  return text;
}

function textOf(sent: Sent, field: string, prefix = ''): string | undefined {
  const value = sent[field];
  if (!value) return undefined;
  if (typeof value === 'object') throw invalidField(prefix + field, value, 'a text');
  return String(value);
}

function invalidField(field: string, value: unknown, allowed: string): Error {
  return refuse(`${field}: ${shown(value)} cannot be kept; it must be ${allowed}`);
}

function shown(value: unknown): string {
  return JSON.stringify(value)?.slice(0, MAX_SHOWN_CHARS) ?? 'nothing';
}
