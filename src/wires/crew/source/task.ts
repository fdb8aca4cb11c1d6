import type { Job, Json, ParentOutput } from '../../../job/job.js';
import { MAX_JOB_ID_CHARS } from '../../../job/limits.js';

type Fields = Readonly<Record<string, unknown>>;

/** A task as a crew server hands it out, as far as it is understood. */
export interface CrewTask {
  readonly id: string;
  readonly input: Json;
  readonly parents: readonly ParentOutput[];
  /** How often it failed before. */
  readonly failures: number;
  readonly attemptsLeft: number | undefined;
  /** Why it cannot be run. */
  readonly fault?: string;
}

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The task in the answer of an acquire; undefined if there is none, as crew's own workers see it: whatever has no `task._id` means no work. */
export function readAcquired(answer: unknown): CrewTask | undefined {
  if (!isFields(answer) || !isFields(answer['task'])) return undefined;
  const { task } = answer;
  const { _id: id, input, errors, remainingAttempts } = task;
  if (typeof id !== 'string' || id === '' || id.length > MAX_JOB_ID_CHARS || /[\p{Cc}\p{Cs}]/u.test(id)) return undefined;
  return {
    id,
    input: (input ?? null) as Json,
    // Beside the task in the real server, inside it for workers in Python.
    parents: readParents(answer['parents'] ?? task['parents']),
    failures: Array.isArray(errors) ? errors.length : 0,
    attemptsLeft: typeof remainingAttempts === 'number' && Number.isSafeInteger(remainingAttempts) ? remainingAttempts : undefined,
  };
}

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
