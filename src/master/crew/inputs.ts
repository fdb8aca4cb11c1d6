import { type ChildInput, DEFAULT_CHANNEL, type JobInput, type Json } from '../../job/job.js';
import { MAX_ATTEMPTS, MAX_BACKOFF_MS, MAX_DELAY_MS, MAX_PRIORITY, MAX_WEIGHT } from '../../job/limits.js';
import type { JobChanges } from '../../ledger/ledger.js';
import { objectId } from './object-id.js';

/** What crew clients send, as our inputs. crew validates next to nothing: what it would store as it is becomes the nearest that we can. */
export type Sent = Readonly<Record<string, unknown>>;

const DEFAULT_ATTEMPTS = 5;
const DEFAULT_ERROR_DELAY_SECONDS = 30;

export function isSent(value: unknown): value is Sent {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A task as it is created, in the given group. */
export function taskInput(sent: Sent, group: string, now: number): JobInput {
  return { ...common(sent, now), id: objectId(now), group, parents: Array.isArray(sent['parentIds']) ? sent['parentIds'].map(String) : [] };
}

function common(sent: Sent, now: number): Omit<JobInput, 'parents'> {
  const runAt = instantOf(sent['runAfter'], now);
  const name = textOf(sent['name']);
  const workgroup = textOf(sent['workgroup']);
  const key = textOf(sent['key']);
  return {
    channel: textOf(sent['channel']) ?? DEFAULT_CHANNEL,
    data: (sent['input'] as Json | undefined) || null,
    attempts: within(sent['remainingAttempts'], 1, MAX_ATTEMPTS) ?? DEFAULT_ATTEMPTS,
    priority: within(sent['priority'], -MAX_PRIORITY, MAX_PRIORITY) ?? 0,
    weight: within(sent['progressWeight'], 1, MAX_WEIGHT) ?? 1,
    seed: sent['isSeed'] === true,
    backoff: 'fixed',
    backoffMs: errorDelayMs('errorDelayInSeconds' in sent ? sent['errorDelayInSeconds'] : DEFAULT_ERROR_DELAY_SECONDS),
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
  return children.filter(isSent).flatMap((sent): ChildInput[] => {
    if (sent['_id'] !== undefined) return [];
    const { runAt, ...job } = common(sent, now);
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
  const runAt = instantOf(sent['runAfter'], now);
  const attemptsLeft = within(sent['remainingAttempts'], 0, MAX_ATTEMPTS);
  const priority = within(sent['priority'], -MAX_PRIORITY, MAX_PRIORITY);
  const weight = within(sent['progressWeight'], 0, MAX_WEIGHT);
  const channel = textOf(sent['channel']);
  return {
    ...(given('name') && { name: textOf(sent['name']) ?? null }),
    ...(given('workgroup') && { workgroup: textOf(sent['workgroup']) ?? null }),
    ...(given('key') && { key: textOf(sent['key']) ?? null }),
    ...(given('runAfter') && { runAt: runAt ?? null }),
    ...(given('input') && { data: (sent['input'] as Json | undefined) ?? null }),
    ...(given('isSeed') && { seed: sent['isSeed'] === true }),
    ...(given('errorDelayInSeconds') && { backoffMs: errorDelayMs(sent['errorDelayInSeconds']), backoff: 'fixed' as const }),
    ...(channel !== undefined && { channel }),
    ...(attemptsLeft !== undefined && { attemptsLeft }),
    ...(priority !== undefined && { priority }),
    ...(weight !== undefined && { weight }),
  };
}

/** Milliseconds of a number of seconds that may be anything. */
export function delayMs(seconds: unknown): number {
  return within(Number(seconds) * 1_000, 0, MAX_DELAY_MS) ?? 0;
}

function errorDelayMs(seconds: unknown): number {
  return Math.min(MAX_BACKOFF_MS, delayMs(seconds));
}

/** A date as text, or milliseconds since the epoch, which crashed the original; what cannot be read is now. */
function instantOf(value: unknown, now: number): number | undefined {
  if (value === undefined || value === null || value === '' || value === false || value === 0) return undefined;
  const ms = typeof value === 'number' ? value : Date.parse(String(value));
  return Number.isFinite(ms) && ms > now ? Math.min(Math.round(ms), now + MAX_DELAY_MS) : undefined;
}

function within(value: unknown, min: number, max: number): number | undefined {
  if (typeof value !== 'number' || !Number.isFinite(value)) return undefined;
  const whole = Math.round(value);
  return whole < min ? undefined : Math.min(max, whole);
}

function textOf(value: unknown): string | undefined {
  return value === undefined || value === null || value === '' || value === false || value === 0 ? undefined : String(value);
}
