import type { JobError, Json } from '../../../job/job.js';
import type { Settlement } from '../../../job/verbs.js';
import { backoffMs } from '../../../kit/backoff.js';
import type { Log } from '../../../log.js';
import type { WorqrConnection } from './connection.js';
import { uniqueOf, workerOf } from './names.js';

const MAX_BACKOFF_MS = 60_000;

/** What there is to do about a task that was taken away. */
export const TWICE =
  'No action needed if the task may run twice: on a queue shared with worqr’s own workers it does when one of them leaves (docs/sources/worqr.md).';

export interface EndingsOptions {
  readonly connection: WorqrConnection;
  readonly log: Log;
  /** So many runs of a task may fail before it is finished with its error. */
  readonly attempts: number;
  /** How long a task whose run failed is held before it goes to the end of its queue; doubles with each further failure. */
  readonly backoffMs: number;
  /** The text of a process that this worker holds. */
  readonly textOf: (process: string) => string | undefined;
}

/** Ends processes in Redis with their outcomes: what completed is finished, what shall be tried again or was not run is put back. */
export class Endings {
  readonly #options: EndingsOptions;
  /** To be finished whatever their outcome: somebody has cancelled them. */
  readonly #cancelled = new Set<string>();

  constructor(options: EndingsOptions) {
    this.#options = options;
  }

  /** What would be tried again is finished instead. */
  cancel({ id }: Settlement): void {
    this.#cancelled.add(id);
  }

  /** How long the task is held before it is put back. */
  holdMs(settlement: Settlement): number {
    const { attempts, backoffMs: firstMs } = this.#options;
    const { outcome, lease } = settlement;
    const again = outcome.state === 'failed' && outcome.retry && lease < attempts;
    return again ? backoffMs(lease, { firstMs, capMs: MAX_BACKOFF_MS }) : 0;
  }

  /** undefined: Redis is away. */
  send(settlement: Settlement): Promise<'accepted' | 'stale'> | undefined {
    return this.#options.connection.isUp ? this.#send(settlement) : undefined;
  }

  async #send(settlement: Settlement): Promise<'accepted' | 'stale'> {
    const { id: process } = settlement;
    const finish = this.#cancelled.has(process) || !this.#isPutBack(settlement);
    const there = await (finish ? this.#finish(settlement) : this.#putBack(settlement));
    this.#cancelled.delete(process);
    if (there) return 'accepted';
    this.#options.log.warn('an outcome came too late: the process of its task is gone from Redis', { process, hint: TWICE });
    return 'stale';
  }

  #isPutBack({ outcome, lease }: Settlement): boolean {
    return outcome.state === 'released' || (outcome.state === 'failed' && outcome.retry && lease < this.#options.attempts);
  }

  async #putBack({ id, outcome }: Settlement): Promise<boolean> {
    const where = outcome.state === 'released' ? ['front', 'free'] : ['back', 'charge'];
    return (await this.#options.connection.run('putBack', [id, ...where])) === 1;
  }

  async #finish({ id: process, outcome }: Settlement): Promise<boolean> {
    const { connection, textOf } = this.#options;
    const task = textOf(process) ?? (await connection.data.lindex(`${connection.prefix}:processes:${process}`, 0));
    if (task === null) return false;
    const ended = endOf(outcome);
    return (
      (await connection.run('finish', [process, uniqueOf(task), JSON.stringify({ workerId: workerOf(process), task, ...ended })])) === 1
    );
  }
}

/** What `done` tells: `result` as worqr has it; of a failure our own `error`, which worqr's readers pass on unread. */
function endOf(outcome: Settlement['outcome']): { readonly result: Json } | { readonly error: JobError } | undefined {
  if (outcome.state === 'released') return undefined;
  if (outcome.state === 'failed') return { error: outcome.error };
  if ((outcome.children?.length ?? 0) === 0) return { result: outcome.output };
  return { error: { code: 'children-invalid', message: 'worqr knows no children' } };
}
