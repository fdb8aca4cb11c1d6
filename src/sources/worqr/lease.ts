import type { Job, Json, Outcome } from '../../job/job.js';
import { MAX_JOB_DATA_BYTES } from '../../job/limits.js';
import type { Lease, TaskOrigin } from '../../job/source.js';
import type { Settlement } from '../../job/verbs.js';
import { queueOf } from './names.js';

/** A claimed task: the process of worqr, its text, and how often a run of it failed before. */
export interface Claimed {
  readonly process: string;
  readonly task: string;
  readonly bytes: number;
  readonly tried: number;
}

/** What a claim answers, checked: anything may stand in somebody's Redis. undefined: not registered. */
export function readClaimed(answer: unknown): Claimed[] | undefined {
  if (answer === null) return undefined;
  if (!Array.isArray(answer)) throw new Error('a claim was answered with something else');
  return answer.map((item: unknown) => {
    const [process, task, bytes, tried]: unknown[] = Array.isArray(item) ? item : [];
    if (typeof process !== 'string' || typeof task !== 'string' || typeof bytes !== 'number')
      throw new Error('a claim was answered with something else');
    return { process, task, bytes, tried: typeof tried === 'number' && tried >= 0 ? tried : 0 };
  });
}

/** How a task's text becomes a job's data: an object or a list that it is in JSON, else the text itself; or always the text. */
export type WorqrData = 'json' | 'text';

export interface LeaseDuties {
  readonly worker: string;
  readonly data: WorqrData;
  readonly timeoutMs: number;
  readonly now: () => number;
  readonly settle: (held: HeldTask, settlement: Settlement) => Promise<void>;
}

export class HeldTask implements Lease {
  readonly claimed: Claimed;
  readonly job: Job;
  readonly task: TaskOrigin;
  readonly runner: string;
  readonly #duties: LeaseDuties;
  readonly #lost = new AbortController();
  readonly #startedAt: number;
  #settled = false;

  constructor(claimed: Claimed, code: { readonly task: TaskOrigin; readonly runner: string }, duties: LeaseDuties) {
    this.claimed = claimed;
    this.task = code.task;
    this.runner = code.runner;
    this.#duties = duties;
    this.#startedAt = duties.now();
    this.job = {
      id: claimed.process,
      channel: this.queue,
      data: duties.data === 'json' ? dataOf(claimed.task) : claimed.task,
      attempt: claimed.tried + 1,
      timeoutMs: duties.timeoutMs,
    };
  }

  get queue(): string {
    return queueOf(this.claimed.process);
  }

  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  /** It is cancelled, or somebody else has it now: the run stops, and its outcome is nothing to anybody. */
  lose(): void {
    this.#settled = true;
    this.#lost.abort();
  }

  /** worqr has no place for what a running task says. */
  report(): void {}

  async settle(outcome: Outcome): Promise<void> {
    if (this.#settled) return;
    this.#settled = true;
    await this.#duties.settle(this, {
      // Whose process it is, too: after a restart the worker has a new id.
      id: `${this.#duties.worker} ${this.claimed.process}`,
      lease: this.job.attempt,
      outcome,
      startedAt: this.#startedAt,
      finishedAt: this.#duties.now(),
    });
  }
}

export function isTooLong({ bytes }: Claimed): boolean {
  return bytes > MAX_JOB_DATA_BYTES;
}

function dataOf(task: string): Json {
  if (!/^\s*[[{]/.test(task)) return task;
  try {
    return JSON.parse(task) as Json;
  } catch {
    return task;
  }
}
