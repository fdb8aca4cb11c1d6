import type { Job, Json, ParentOutput } from '../../../job/job.js';
import { MAX_JOB_ID_CHARS } from '../../../job/limits.js';
import { isFields } from '../fields.js';

/** A task as a crew server hands it out, reduced to the fields we use. */
export interface CrewTask {
  readonly id: string;
  readonly input: Json;
  readonly parents: readonly ParentOutput[];
  /** Number of earlier failures. */
  readonly failures: number;
  readonly attemptsLeft: number | undefined;
  /** Why the task cannot be run. */
  readonly fault?: string;
}

/**
 * Reads the task from the response to an acquire. Returns undefined if there is none; like crew's own workers, anything without a
 * `task._id` means no work.
 */
export function readAcquired(reply: unknown): CrewTask | undefined {
  if (!isFields(reply) || !isFields(reply['task'])) return undefined;
  const { task } = reply;
  const { _id: id, input, errors, remainingAttempts } = task;
  if (typeof id !== 'string' || id === '' || id.length > MAX_JOB_ID_CHARS || /[\p{Cc}\p{Cs}]/u.test(id)) return undefined;
  return {
    id,
    input: (input ?? null) as Json,
    // The real server sends them next to the task; workers in Python expect them inside it.
    parents: readParents(reply['parents'] ?? task['parents']),
    failures: Array.isArray(errors) ? errors.length : 0,
    attemptsLeft: typeof remainingAttempts === 'number' && Number.isSafeInteger(remainingAttempts) ? remainingAttempts : undefined,
  };
}

/** Reads the parents of a task; invalid ones are skipped. */
export function readParents(parents: unknown): ParentOutput[] {
  if (!Array.isArray(parents)) return [];
  return parents.flatMap((parent: unknown) => {
    if (!isFields(parent) || typeof parent['_id'] !== 'string') return [];
    const { _id: id, channel, input, output } = parent;
    return [{ id, channel: typeof channel === 'string' ? channel : '', data: (input ?? null) as Json, output: (output ?? null) as Json }];
  });
}

export function jobOf(task: CrewTask, channel: string, timeoutMs: number): Job {
  const { id, input, parents, failures } = task;
  return { id, channel, data: input, attempt: failures + 1, timeoutMs, ...(parents.length > 0 && { parents }) };
}
