import { leaseKeyOf, type Settlement } from '../../../job/verbs.js';
import type { Log } from '../../../log.js';
import { isFields } from '../fields.js';
import { type CrewAnswer, type CrewClient, CrewRefusal } from './client.js';
import { releaseOf } from './release.js';

/** Refusals of an outcome with children after which its task is released with the refusal as its error. */
const MAX_REFUSALS = 4;
/** Statuses of a body that the server will never accept: too large or invalid. */
const PERMANENT = new Set([400, 413, 422]);

export interface ReleasesOptions {
  readonly client: CrewClient;
  readonly log: Log;
}

/**
 * Releases tasks with their outcomes. Releases are idempotent: the server replies to a repeated one with the task as it is. A release
 * without a reply is retried until there is one, also after a restart; crew's own workers give up after four attempts.
 */
export class Releases {
  readonly #options: ReleasesOptions;
  readonly #refusals = new Map<string, number>();

  constructor(options: ReleasesOptions) {
    this.#options = options;
  }

  /** Rejects with `crew-unreachable`, or with `crew-refused` if the release must be retried. */
  async send(settlement: Settlement): Promise<'accepted' | 'stale'> {
    const reply = await this.#release(settlement);
    const end = this.#endOf(settlement, reply);
    if (end === undefined) throw new CrewRefusal(reply, 'a release');
    this.#refusals.delete(leaseKeyOf(settlement));
    return end;
  }

  /** The settlement's id was made by `idOf`. */
  async #release(settlement: Settlement): Promise<CrewAnswer> {
    const { client } = this.#options;
    const { id, outcome, finishedAt } = settlement;
    const { workerId, task, failures, attemptsLeft } = partsOf(id);
    if (outcome.state === 'released') {
      // A reset returns the task unchanged. A task with earlier errors would lose them, so it is charged an attempt instead.
      const untouched = failures === 0 && attemptsLeft > 0;
      if (untouched && !(await client.isMine(task, workerId))) return { status: 200, body: undefined, retryAfterMs: undefined };
      return untouched ? client.reset(task, attemptsLeft) : client.release(task, { workerId, error: `Given back: ${outcome.reason}` });
    }
    const refused = this.#refusals.get(leaseKeyOf(settlement)) ?? 0;
    if (refused >= MAX_REFUSALS) return client.release(task, { workerId, error: 'The server refused the outcome of this task' });
    return client.release(task, { workerId, ...releaseOf(outcome, finishedAt) });
  }

  /** Returns undefined if the release must be retried. */
  #endOf(settlement: Settlement, { status, body }: CrewAnswer): 'accepted' | 'stale' | undefined {
    const { id, outcome } = settlement;
    const key = leaseKeyOf(settlement);
    if (status >= 200 && status <= 299) return 'accepted';
    const message = isFields(body) && typeof body['message'] === 'string' ? body['message'] : undefined;
    if (status === 500 && message !== undefined && /^(Worker id did not match|Unable to find task)/.test(message)) {
      this.#options.log.warn('an outcome came too late: this worker no longer has its task', {
        task: partsOf(id).task,
        hint: 'No action needed; another worker has the task. If this is frequent, raise the crew server’s timeout for abandoned tasks.',
      });
      return 'stale';
    }
    const hasChildren = outcome.state === 'completed' && (outcome.children?.length ?? 0) > 0;
    const refusals = this.#refusals.get(key) ?? 0;
    if (PERMANENT.has(status)) {
      // The short error message was refused as well: give up.
      if (refusals >= MAX_REFUSALS) return 'stale';
      this.#refusals.set(key, MAX_REFUSALS);
    } else if (status === 500 && message !== undefined && hasChildren) {
      this.#refusals.set(key, refusals + 1);
    }
    return undefined;
  }
}

/** Encodes what a release after a restart needs to know, since the worker then has another id. */
export function idOf(workerId: string, task: string, failures: number, attemptsLeft: number | undefined): string {
  return `${workerId} ${failures} ${attemptsLeft ?? 0} ${task}`;
}

/** Decodes an id made by `idOf`. */
export function partsOf(id: string) {
  const [workerId = '', failures = '', attemptsLeft = '', ...task] = id.split(' ');
  return { workerId, failures: Number(failures), attemptsLeft: Number(attemptsLeft), task: task.join(' ') };
}
