import { createHash } from 'node:crypto';
import type { Json, Outcome } from '../../../job/job.js';
import { GIVEN_VALUE, MAX_JOB_DATA_BYTES } from '../../../job/limits.js';
import type { TaskOrigin } from '../../../job/source.js';
import { type JsonRefused, parseJson } from '../../../kit/json.js';
import { HeldLease } from '../../../sources/held-lease.js';
import { queueOf } from './names.js';

/** A claimed task: its worqr process, its text, and the number of earlier failed runs. */
export interface Claimed {
  readonly process: string;
  readonly task: string;
  readonly bytes: number;
  readonly tried: number;
  /** Whether the text differs from the bytes in Redis, because those are not UTF-8. */
  readonly garbled: boolean;
}

/** Validates the reply to a claim, since a foreign Redis may hold anything. Returns undefined if the worker is not registered. */
export function readClaimed(reply: unknown): Claimed[] | undefined {
  if (reply === null) return undefined;
  if (!Array.isArray(reply)) throw new Error('a claim got an unexpected response');
  return reply.map((item: unknown) => {
    const [process, task, bytes, tried, sha1]: unknown[] = Array.isArray(item) ? item : [];
    if (typeof process !== 'string' || typeof task !== 'string' || typeof bytes !== 'number')
      throw new Error('a claim got an unexpected response');
    const garbled = typeof sha1 === 'string' && sha1 !== '' && task !== '' && createHash('sha1').update(task).digest('hex') !== sha1;
    return { process, task, bytes, tried: typeof tried === 'number' && tried >= 0 ? tried : 0, garbled };
  });
}

/**
 * How the text of a task becomes job data: `json` parses a JSON object or array and keeps other text as it is; `text` always keeps the
 * text.
 */
export type WorqrData = 'json' | 'text';

/** A claimed task while this worker holds it. */
export class HeldTask extends HeldLease {
  readonly claimed: Claimed;
  /** Why the task cannot be run. */
  readonly fault: string | undefined;

  constructor(
    claimed: Claimed,
    code: { readonly task: TaskOrigin; readonly runner: string },
    run: { readonly data: WorqrData; readonly timeoutMs: number; readonly startedAt: number },
    onSettled: (held: HeldTask, outcome: Outcome) => Promise<void>,
  ) {
    const { process: id, task, tried } = claimed;
    const { data, fault } = run.data === 'json' ? dataOf(task) : { data: task, fault: undefined };
    const job = { id, channel: queueOf(id), data, attempt: tried + 1, timeoutMs: run.timeoutMs };
    super({ job, ...code, startedAt: run.startedAt }, (outcome) => onSettled(this, outcome));
    this.claimed = claimed;
    this.fault = claimed.garbled ? 'the task is not UTF-8' : fault;
  }
}

/** Whether the task is over the size limit; its text was not fetched then. */
export function isTooLong({ bytes }: Claimed): boolean {
  return bytes > MAX_JOB_DATA_BYTES;
}

function dataOf(task: string): { readonly data: Json; readonly fault?: string } {
  if (!/^\s*[[{]/.test(task)) return { data: task };
  try {
    return { data: parseJson(task, GIVEN_VALUE) as Json };
  } catch (thrown) {
    const { reason, message } = thrown as JsonRefused;
    return reason === 'malformed' ? { data: task } : { data: null, fault: message };
  }
}
