import { type ChildInput, DEFAULT_CHANNEL, type JobInput, type Json } from '../../job/job.js';
import { MAX_ATTEMPTS, MAX_BACKOFF_MS, MAX_DELAY_MS, MAX_PRIORITY, MAX_WEIGHT } from '../../job/limits.js';
import type { JobChanges } from '../../ledger/ledger.js';
import { objectId } from './object-id.js';
import { refuse } from './refusal.js';

/**
 * What crew clients send, as our inputs. crew validates next to nothing and stores what it is given. What we cannot keep just so is refused as crew refuses
 * anything, with the name of the field: nothing becomes something near it.
 */
export type Sent = Readonly<Record<string, unknown>>;

const DEFAULT_ATTEMPTS = 5;
const DEFAULT_ERROR_DELAY_MS = 30_000;
const MAX_SHOWN_CHARS = 60;

export function isSent(value: unknown): value is Sent {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A task as it is created, in the given group. */
export function taskInput(sent: Sent, group: string, now: number): JobInput {
  const parents = Array.isArray(sent['parentIds']) ? sent['parentIds'].map(String) : [];
  return { ...common(sent, now, ''), id: objectId(now), group, parents };
}

function common(sent: Sent, now: number, place: string): Omit<JobInput, 'parents'> {
  const runAt = instantOf(sent, 'runAfter', now, place);
  const [channel, name, workgroup, key] = (['channel', 'name', 'workgroup', 'key'] as const).map((field) => textOf(sent, field, place));
  return {
    channel: channel ?? DEFAULT_CHANNEL,
    data: (sent['input'] as Json | undefined) || null,
    attempts: wholeOf(sent, 'remainingAttempts', 1, MAX_ATTEMPTS, place) ?? DEFAULT_ATTEMPTS,
    priority: wholeOf(sent, 'priority', -MAX_PRIORITY, MAX_PRIORITY, place) ?? 0,
    weight: wholeOf(sent, 'progressWeight', 1, MAX_WEIGHT, place) ?? 1,
    seed: sent['isSeed'] === true,
    backoff: 'fixed',
    backoffMs: 'errorDelayInSeconds' in sent ? delayMs(sent, 'errorDelayInSeconds', MAX_BACKOFF_MS, place) : DEFAULT_ERROR_DELAY_MS,
    parentFailure: 'wait',
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
export function childInputs(children: readonly unknown[], delayMs: number, now: number): ChildInput[] {
  return children.flatMap((sent, at): ChildInput[] => {
    if (!isSent(sent) || sent['_id'] !== undefined) return [];
    const { runAt, ...job } = common(sent, now, `children.${at}.`);
    const ref = sent['_child_id'];
    const parents = sent['_parent_ids'];
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

/** What may be changed of a task by PUT; what crew would take away silently, and what we have no place for, is left out. */
export function taskChanges(sent: Sent, now: number): JobChanges {
  const given = (field: string) => field in sent;
  const attemptsLeft = given('remainingAttempts') ? checkedWhole(sent, 'remainingAttempts', 0, MAX_ATTEMPTS) : undefined;
  const priority = given('priority') ? checkedWhole(sent, 'priority', -MAX_PRIORITY, MAX_PRIORITY) : undefined;
  const weight = given('progressWeight') ? checkedWhole(sent, 'progressWeight', 0, MAX_WEIGHT) : undefined;
  const channel = textOf(sent, 'channel');
  return {
    ...(given('name') && { name: textOf(sent, 'name') ?? null }),
    ...(given('workgroup') && { workgroup: textOf(sent, 'workgroup') ?? null }),
    ...(given('key') && { key: textOf(sent, 'key') ?? null }),
    ...(given('runAfter') && { runAt: instantOf(sent, 'runAfter', now) ?? null }),
    ...(given('input') && { data: (sent['input'] as Json | undefined) ?? null }),
    ...(given('isSeed') && { seed: sent['isSeed'] === true }),
    ...(given('errorDelayInSeconds') && {
      backoffMs: delayMs(sent, 'errorDelayInSeconds', MAX_BACKOFF_MS),
      backoff: 'fixed' as const,
    }),
    ...(channel !== undefined && { channel }),
    ...(attemptsLeft !== undefined && { attemptsLeft }),
    ...(priority !== undefined && { priority }),
    ...(weight !== undefined && { weight }),
  };
}

/** `remainingAttempts` of the body of a retry or a reset; crew's default is 2. */
export function attemptsOf(sent: Sent): number {
  return wholeOf(sent, 'remainingAttempts', 1, MAX_ATTEMPTS) ?? 2;
}

/** Milliseconds of a number of seconds, or of a text that is one; nothing is 0. */
export function delayMs(sent: Sent, field: string, maxMs: number, place = ''): number {
  const value = sent[field];
  if (!value) return 0;
  const ms = typeof value === 'number' || typeof value === 'string' ? Math.round(Number(value) * 1_000) : Number.NaN;
  if (!(ms >= 0 && ms <= maxMs)) throw unkept(place + field, value, `seconds from 0 to ${maxMs / 1_000}`);
  return ms;
}

/** A date as text, or milliseconds since the epoch, which crashed the original; what cannot be read is now. */
function instantOf(sent: Sent, field: string, now: number, place = ''): number | undefined {
  const value = sent[field];
  if (!value) return undefined;
  const ms = typeof value === 'number' ? Math.round(value) : Date.parse(String(value));
  if (ms > now + MAX_DELAY_MS) throw unkept(place + field, value, 'an instant within a year');
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

function textOf(sent: Sent, field: string, place = ''): string | undefined {
  const value = sent[field];
  if (!value) return undefined;
  if (typeof value === 'object') throw unkept(place + field, value, 'a text');
  return String(value);
}

function unkept(field: string, value: unknown, allowed: string): Error {
  return refuse(`${field}: ${JSON.stringify(value)?.slice(0, MAX_SHOWN_CHARS)} cannot be kept; it must be ${allowed}`);
}
