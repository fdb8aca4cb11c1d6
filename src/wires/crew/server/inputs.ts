import { type ChildInput, DEFAULT_CHANNEL, type JobInput, type Json } from '../../../job/job.js';
import { isWeight } from '../../../job/kinds.js';
import { MAX_ATTEMPTS, MAX_BACKOFF_MS, MAX_DELAY_MS, MAX_PRIORITY, MAX_WEIGHT } from '../../../job/limits.js';
import type { JobChanges, JobRecord } from '../../../ledger/ledger.js';
import { isName, withAsSent } from './as-sent.js';
import { MALFORMED_ID, objectId } from './object-id.js';
import { refuse } from './refusal.js';

/**
 * What crew clients send, as our inputs. crew validates next to nothing and stores what it is given. So is it here, if need be in the words of the client;
 * what cannot be kept just so is refused as crew refuses anything, with the name of the field: nothing becomes something near it.
 */
export type Sent = Readonly<Record<string, unknown>>;

type Words = Record<string, Json | undefined>;

const DEFAULT_ATTEMPTS = 5;
const DEFAULT_ERROR_DELAY_MS = 30_000;
const MAX_SHOWN_CHARS = 60;

/** What crew takes out of a change of a task without a word. */
const UNCHANGEABLE = new Set([
  ...['taskGroupId', 'isPaused', 'parentsComplete', 'isComplete', 'assignedTo', 'assignedAt'],
  ...['executeMessageId', 'examineMessageId', 'output', 'errors', 'createdAt'],
]);
const CHANGEABLE = new Set([
  ...['name', 'channel', 'workgroup', 'key', 'remainingAttempts', 'priority', 'runAfter', 'progressWeight'],
  ...['isSeed', 'errorDelayInSeconds', 'input'],
]);

export function isSent(value: unknown): value is Sent {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A task as it is created, in the given group. */
export function taskInput(sent: Sent, group: string, now: number): JobInput {
  const { parentIds } = sent;
  // As crew comes to say it: it takes the text apart, and finds no ids.
  if (typeof parentIds === 'string' && parentIds !== '') throw refuse(MALFORMED_ID);
  if (parentIds && !Array.isArray(parentIds)) throw refuse('data.parentIds is not iterable');
  const parents = Array.isArray(parentIds) ? parentIds.map(String) : [];
  // crew looks at none, and finds all of them complete.
  const words: Words = Array.isArray(parentIds) && parents.length === 0 ? { parentsComplete: true } : {};
  return { ...common(sent, now, '', words), id: objectId(now), group, parents };
}

function common(sent: Sent, now: number, place: string, words: Words): Omit<JobInput, 'parents'> {
  const runAt = instantOf(sent, 'runAfter', now, place);
  const channel = textOf(sent, 'channel', place);
  const name = nameOf(sent, words);
  const [workgroup, key] = (['workgroup', 'key'] as const).map((field) => matched(sent, field, place, words, false));
  const weight = sent['progressWeight'] ? weightOf(sent, 'progressWeight', place) : 1;
  const backoffMs = 'errorDelayInSeconds' in sent ? errorDelayMs(sent, place, words) : DEFAULT_ERROR_DELAY_MS;
  const meta = withAsSent(undefined, words);
  return {
    channel: channel ?? DEFAULT_CHANNEL,
    data: (sent['input'] as Json | undefined) || null,
    attempts: wholeOf(sent, 'remainingAttempts', 1, MAX_ATTEMPTS, place) ?? DEFAULT_ATTEMPTS,
    priority: wholeOf(sent, 'priority', -MAX_PRIORITY, MAX_PRIORITY, place) ?? 0,
    weight,
    seed: sent['isSeed'] ? flagOf(sent, 'isSeed', place) : false,
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
 * Children of a release: those with an `_id` exist already. Siblings are named by `_child_id` and `_parent_ids`, in any order; numbers and
 * texts that read the same are the same. `childrenDelayInSeconds` is for all that say nothing themselves.
 */
export function childInputs(children: unknown, delayMs: number, now: number): ChildInput[] {
  if (!children) return [];
  if (!Array.isArray(children)) throw refuse(`children: ${shown(children)} is not a list of tasks`);
  return children.flatMap((sent: unknown, at): ChildInput[] => {
    if (!isSent(sent)) throw refuse(`children.${at}: ${shown(sent)} is not a task`);
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

/** What may be changed of a task by PUT. What crew takes away silently is left out; fields that neither knows are kept and shown, as in crew. */
export function taskChanges(sent: Sent, now: number, { id, meta, parents, channel: before }: JobRecord): JobChanges {
  const given = (field: string) => field in sent;
  const words: Words = {};
  for (const [field, value] of Object.entries(sent))
    if (!UNCHANGEABLE.has(field) && !CHANGEABLE.has(field) && field !== '_id' && field !== 'parentIds') words[field] = value as Json;
  if (given('_id') && sent['_id'] !== id) throw unkept('_id', sent['_id'], 'the id of the task, which never changes');
  if (given('parentIds') && JSON.stringify(sent['parentIds']) !== JSON.stringify(parents))
    throw unkept('parentIds', sent['parentIds'], `as it is: ${JSON.stringify(parents)}`);
  const attemptsLeft = given('remainingAttempts') ? checkedWhole(sent, 'remainingAttempts', 0, MAX_ATTEMPTS) : undefined;
  const priority = given('priority') ? checkedWhole(sent, 'priority', -MAX_PRIORITY, MAX_PRIORITY) : undefined;
  const weight = given('progressWeight') ? weightOf(sent, 'progressWeight') : undefined;
  const channel = textOf(sent, 'channel');
  if (given('channel') && channel === undefined) throw unkept('channel', sent['channel'], 'a text');
  const changes: JobChanges = {
    ...(given('name') && { name: nameOf(sent, words) ?? null }),
    ...(given('workgroup') && { workgroup: matched(sent, 'workgroup', '', words, true) ?? null }),
    ...(given('key') && { key: matched(sent, 'key', '', words, true) ?? null }),
    ...(given('runAfter') && { runAt: instantOf(sent, 'runAfter', now) ?? null }),
    ...(given('input') && { data: (sent['input'] as Json | undefined) ?? null }),
    ...(given('isSeed') && { seed: flagOf(sent, 'isSeed') }),
    ...(given('errorDelayInSeconds') && { backoffMs: errorDelayMs(sent, '', words), backoff: 'fixed' as const }),
    ...(channel !== undefined && channel !== before && { channel }),
    ...(attemptsLeft !== undefined && { attemptsLeft }),
    ...(priority !== undefined && { priority }),
    ...(weight !== undefined && { weight }),
  };
  const after = withAsSent(meta, words);
  return JSON.stringify(after) === JSON.stringify(meta ?? {}) ? changes : { ...changes, meta: after };
}

/** `remainingAttempts` of the body of a retry or a reset, where crew reads numbers from texts; its default is 2. */
export function attemptsOf(sent: Sent): number {
  const value = sent['remainingAttempts'];
  const read = typeof value === 'string' && /^\s*\d+\s*$/.test(value) ? Number(value) : value;
  return wholeOf({ remainingAttempts: read }, 'remainingAttempts', 1, MAX_ATTEMPTS) ?? 2;
}

/** Milliseconds of a number of seconds, or of a text that is one; nothing is 0. */
export function delayMs(sent: Sent, field: string, maxMs: number, place = ''): number {
  const value = sent[field];
  if (!value) return 0;
  const ms = typeof value === 'number' || typeof value === 'string' ? Number(value) * 1_000 : Number.NaN;
  if (!(ms >= 0 && ms <= maxMs)) throw unkept(place + field, value, `seconds from 0 to ${maxMs / 1_000}`);
  return Math.round(ms);
}

/** What is no plain number of seconds is shown as it was sent. */
function errorDelayMs(sent: Sent, place: string, words: Words): number {
  const value = sent['errorDelayInSeconds'];
  const ms = delayMs(sent, 'errorDelayInSeconds', MAX_BACKOFF_MS, place);
  words['errorDelayInSeconds'] = value === ms / 1_000 ? undefined : (value as Json);
  return ms;
}

/** A date as text, or milliseconds since the epoch, which crashed the original. One that has passed is undefined: it holds nothing up. */
function instantOf(sent: Sent, field: string, now: number, place = ''): number | undefined {
  const value = sent[field];
  if (!value) return undefined;
  const ms = typeof value === 'number' ? Math.round(value) : Date.parse(String(value));
  if (!(ms <= now + MAX_DELAY_MS)) throw unkept(place + field, value, 'an instant within a year, such as 2030-01-31T12:00:00Z');
  return ms > now ? ms : undefined;
}

/** undefined for what crew takes to be nothing: 0, null, an empty text. */
function wholeOf(sent: Sent, field: string, min: number, max: number, place = ''): number | undefined {
  return sent[field] ? checkedWhole(sent, field, min, max, place) : undefined;
}

function checkedWhole(sent: Sent, field: string, min: number, max: number, place = ''): number {
  const value = sent[field];
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
  throw unkept(place + field, value, `a whole number from ${min} to ${max}`);
}

function weightOf(sent: Sent, field: string, place = ''): number {
  const value = sent[field];
  if (typeof value === 'number' && isWeight(value)) return value;
  throw unkept(place + field, value, `a number from 0 to ${MAX_WEIGHT} with at most six decimals`);
}

function flagOf(sent: Sent, field: string, place = ''): boolean {
  const value = sent[field];
  if (typeof value !== 'boolean') throw unkept(place + field, value, 'true or false');
  return value;
}

/** The ledger's name of it; any other is kept as it was sent. */
function nameOf(sent: Sent, words: Words): string | undefined {
  const value = sent['name'];
  words['name'] = isName(value) || value === undefined || value === null ? undefined : (value as Json);
  return isName(value) ? value : undefined;
}

/**
 * A text that is compared with those of others: a number is the text that it reads, and shown as it was sent. What is empty is nothing in a new task, and kept in
 * a change.
 */
function matched(sent: Sent, field: string, place: string, words: Words, keepsEmpty: boolean): string | undefined {
  const value = sent[field];
  const text = textOf(sent, field, place);
  const isKept = text === undefined ? keepsEmpty && value !== null && value !== undefined : text !== value;
  words[field] = isKept ? (value as Json) : undefined;
  return text;
}

function textOf(sent: Sent, field: string, place = ''): string | undefined {
  const value = sent[field];
  if (!value) return undefined;
  if (typeof value === 'object') throw unkept(place + field, value, 'a text');
  return String(value);
}

function unkept(field: string, value: unknown, allowed: string): Error {
  return refuse(`${field}: ${shown(value)} cannot be kept; it must be ${allowed}`);
}

function shown(value: unknown): string {
  return JSON.stringify(value)?.slice(0, MAX_SHOWN_CHARS) ?? 'nothing';
}
