import type { Clock, Timer } from '../../clock.js';
import { asPeerworkError, type PeerworkError } from '../../errors.js';
import type { Settlement } from '../../job/verbs.js';
import type { Log } from '../../log.js';
import type { Outbox } from '../outbox.js';
import { type CrewAnswer, type CrewClient, CrewRefusal } from './client.js';
import { releaseOf } from './release.js';
import { isFields } from './task.js';

const MIN_RETRY_MS = 1_000;
const MAX_RETRY_MS = 60_000;
/** So often an outcome with children is refused before its task is released with the refusal as its error. */
const MAX_REFUSALS = 4;
/** What the server cannot take in at all: too large, or not to its liking. */
const HOPELESS = new Set([400, 413, 422]);

export interface DeliveriesOptions {
  readonly client: CrewClient;
  readonly outbox: Outbox;
  readonly clock: Clock;
  readonly log: Log;
  readonly trouble: (error: PeerworkError) => void;
  /** A release was heard: its channels may have more. */
  readonly onReleased: (settlement: Settlement) => void;
}

/**
 * Carries outcomes from the outbox to the server. A release may be repeated: the server answers one that it knows with the task as it is.
 * What it does not answer is sent again until it does, over restarts too; crew's own workers give up after four times.
 */
export class Deliveries {
  readonly #options: DeliveriesOptions;
  readonly #sending = new Set<string>();
  readonly #refusals = new Map<string, number>();
  readonly #retries = new Map<string, number>();
  readonly #timers = new Map<string, Timer>();
  #closed = false;

  constructor(options: DeliveriesOptions) {
    this.#options = options;
  }

  /** Resolves once the outcome is safe: on disk, or with the server. */
  deliver(settlement: Settlement): Promise<void> {
    const safe = this.#options.outbox.put(settlement);
    void this.#send(settlement);
    return safe;
  }

  /** What an earlier process has left. */
  start(): void {
    for (const settlement of this.#options.outbox.pending()) void this.#send(settlement);
  }

  flush(signal: AbortSignal): Promise<void> {
    return this.#options.outbox.emptied(signal);
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers.values()) timer.cancel();
  }

  async #send(settlement: Settlement): Promise<void> {
    const { clock, trouble } = this.#options;
    const key = keyOf(settlement);
    if (this.#closed || this.#sending.has(key)) return;
    this.#sending.add(key);
    let waitMs: number | undefined;
    try {
      const answer = await this.#release(settlement);
      if (this.#isOver(settlement, answer)) this.#end(settlement);
      else {
        trouble(new CrewRefusal(answer, 'a release'));
        waitMs = answer.retryAfterMs ?? 0;
      }
    } catch (error) {
      trouble(asPeerworkError(error, 'crew-unreachable'));
      waitMs = 0;
    } finally {
      this.#sending.delete(key);
    }
    if (waitMs === undefined || this.#closed) return;
    const retryMs = Math.min(this.#retries.get(key) ?? MIN_RETRY_MS, MAX_RETRY_MS);
    this.#retries.set(key, retryMs * 2);
    const timer = clock.after(Math.max(waitMs, retryMs * (0.75 + Math.random() / 2)), () => void this.#send(settlement), { unref: true });
    this.#timers.set(key, timer);
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
    const refused = this.#refusals.get(keyOf(settlement)) ?? 0;
    if (refused >= MAX_REFUSALS) return client.release(task, { workerId, error: 'The server refused the outcome of this task' });
    return client.release(task, { workerId, ...releaseOf(outcome, finishedAt) });
  }

  /** Whether nothing more is to be told. */
  #isOver(settlement: Settlement, { status, body }: CrewAnswer): boolean {
    const { id, outcome } = settlement;
    const key = keyOf(settlement);
    if (status >= 200 && status <= 299) return true;
    const message = isFields(body) && typeof body['message'] === 'string' ? body['message'] : undefined;
    if (status === 500 && message !== undefined && /^(Worker id did not match|Unable to find task)/.test(message)) {
      this.#options.log.warn('an outcome came too late: its task is not this worker’s any more', { task: partsOf(id).task });
      return true;
    }
    const hasChildren = outcome.state === 'completed' && (outcome.children?.length ?? 0) > 0;
    const refusals = this.#refusals.get(key) ?? 0;
    if (HOPELESS.has(status)) {
      // An error of a few words that is refused as well is the end of it.
      if (refusals >= MAX_REFUSALS) return true;
      this.#refusals.set(key, MAX_REFUSALS);
    } else if (status === 500 && message !== undefined && hasChildren) {
      this.#refusals.set(key, refusals + 1);
    }
    return false;
  }

  #end(settlement: Settlement): void {
    const { outbox, onReleased } = this.#options;
    outbox.acknowledge(settlement);
    for (const map of [this.#refusals, this.#retries, this.#timers]) map.delete(keyOf(settlement));
    onReleased(settlement);
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

function keyOf({ id, lease }: Settlement): string {
  return `${lease} ${id}`;
}
