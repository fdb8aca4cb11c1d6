import type { JobError, Json } from '../../../job/job.js';
import type { Settlement } from '../../../job/verbs.js';
import { backoffMs } from '../../../kit/backoff.js';
import type { Log } from '../../../log.js';
import type { WorqrConnection } from './connection.js';
import { uniqueOf, workerOf } from './names.js';

const MAX_BACKOFF_MS = 60_000;

/** Hint for a task that was taken away. */
export const LOST_TASK_HINT =
  'No action needed if the task may run twice: on a queue shared with worqr’s own workers it does when one of them leaves (docs/sources/worqr.md).';

export interface EndingsOptions {
  readonly connection: WorqrConnection;
  readonly log: Log;
  /** Failed runs of a task after which it is finished with its error. */
  readonly attempts: number;
  /** How long a task whose run failed is held back before it goes to the end of its queue, in ms; doubles with each further failure. */
  readonly backoffMs: number;
  /** Text of the task of a process that this worker holds. */
  readonly textOf: (process: string) => string | undefined;
}

/**
 * Settles processes in Redis: completed tasks are finished; tasks that are to be retried, or were released unrun, go back to their queues.
 */
export class Endings {
  readonly #options: EndingsOptions;
  /** Cancelled processes, which are finished whatever their outcome. */
  readonly #cancelled = new Set<string>();

  constructor(options: EndingsOptions) {
    this.#options = options;
  }

  /** Makes `send` finish the process where it would otherwise retry the task. */
  cancel({ id }: Settlement): void {
    this.#cancelled.add(id);
  }

  /** Milliseconds to hold the task back before it is returned to its queue. */
  holdMs(settlement: Settlement): number {
    const { attempts, backoffMs: firstMs } = this.#options;
    const { outcome, lease } = settlement;
    const retries = outcome.state === 'failed' && outcome.retry && lease < attempts;
    return retries ? backoffMs(lease, { firstMs, capMs: MAX_BACKOFF_MS }) : 0;
  }

  /** Returns undefined while Redis is unreachable. */
  send(settlement: Settlement): Promise<'accepted' | 'stale'> | undefined {
    return this.#options.connection.isUp ? this.#send(settlement) : undefined;
  }

  async #send(settlement: Settlement): Promise<'accepted' | 'stale'> {
    const { id: process } = settlement;
    const finish = this.#cancelled.has(process) || !this.#isPutBack(settlement);
    const found = await (finish ? this.#finish(settlement) : this.#putBack(settlement));
    this.#cancelled.delete(process);
    if (found) return 'accepted';
    this.#options.log.warn('an outcome came too late: the process of its task is gone from Redis', { process, hint: LOST_TASK_HINT });
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

/** Payload of the `done` message: `result` as in worqr; for a failure our own `error`, which worqr's clients pass on unread. */
function endOf(outcome: Settlement['outcome']): { readonly result: Json } | { readonly error: JobError } | undefined {
  if (outcome.state === 'released') return undefined;
  if (outcome.state === 'failed') return { error: outcome.error };
  if ((outcome.children?.length ?? 0) === 0) return { result: outcome.output };
  return { error: { code: 'children-invalid', message: 'worqr knows no children' } };
}
