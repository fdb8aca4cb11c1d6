import { leaseKeyOf, type Settlement } from '../../../job/verbs.js';
import type { Log } from '../../../log.js';
import { type CrewAnswer, type CrewClient, CrewRefusal } from './client.js';
import { releaseOf } from './release.js';
import { isFields } from './task.js';

/** So often an outcome with children is refused before its task is released with the refusal as its error. */
const MAX_REFUSALS = 4;
/** What the server cannot take in at all: too large, or not to its liking. */
const HOPELESS = new Set([400, 413, 422]);

export interface ReleasesOptions {
  readonly client: CrewClient;
  readonly log: Log;
}

/**
 * Releases tasks with their outcomes. A release may be repeated: the server answers one that it knows with the task as it is. What it does not
 * answer is sent again until it does, over restarts too; crew's own workers give up after four times.
 */
export class Releases {
  readonly #options: ReleasesOptions;
  readonly #refusals = new Map<string, number>();

  constructor(options: ReleasesOptions) {
    this.#options = options;
  }

  /** Rejects with `crew-unreachable`, or with `crew-refused` if it is to be tried again. */
  async send(settlement: Settlement): Promise<'accepted' | 'stale'> {
    const answer = await this.#release(settlement);
    const end = this.#endOf(settlement, answer);
    if (end === undefined) throw new CrewRefusal(answer, 'a release');
    this.#refusals.delete(leaseKeyOf(settlement));
    return end;
  }

  /** Of the settlement's id: `worker task errors attempts`, see `idOf`. */
  async #release(settlement: Settlement): Promise<CrewAnswer> {
    const { client } = this.#options;
    const { id, outcome, finishedAt } = settlement;
    const { workerId, task, failures, attemptsLeft } = partsOf(id);
    if (outcome.state === 'released') {
      // A reset gives it back as it was, unless it has errors to lose: then it costs an attempt.
      const untouched = failures === 0 && attemptsLeft > 0;
      if (untouched && !(await client.isMine(task, workerId))) return { status: 200, body: undefined, retryAfterMs: undefined };
      return untouched ? client.reset(task, attemptsLeft) : client.release(task, { workerId, error: `Given back: ${outcome.reason}` });
    }
    const refused = this.#refusals.get(leaseKeyOf(settlement)) ?? 0;
    if (refused >= MAX_REFUSALS) return client.release(task, { workerId, error: 'The server refused the outcome of this task' });
    return client.release(task, { workerId, ...releaseOf(outcome, finishedAt) });
  }

  /** undefined: it is to be tried again. */
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
    if (HOPELESS.has(status)) {
      // An error of a few words that is refused as well is the end of it.
      if (refusals >= MAX_REFUSALS) return 'stale';
      this.#refusals.set(key, MAX_REFUSALS);
    } else if (status === 500 && message !== undefined && hasChildren) {
      this.#refusals.set(key, refusals + 1);
    }
    return undefined;
  }
}

/** What a release after a restart must know: the worker has another id then. */
export function idOf(workerId: string, task: string, failures: number, attemptsLeft: number | undefined): string {
  return `${workerId} ${failures} ${attemptsLeft ?? 0} ${task}`;
}

/** Of what `idOf` has made. */
export function partsOf(id: string) {
  const [workerId = '', failures = '', attemptsLeft = '', ...task] = id.split(' ');
  return { workerId, failures: Number(failures), attemptsLeft: Number(attemptsLeft), task: task.join(' ') };
}
