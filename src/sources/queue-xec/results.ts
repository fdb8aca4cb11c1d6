import { type Clock, pause } from '../../clock.js';
import { PeerworkError } from '../../errors.js';
import type { Json, Outcome } from '../../job/job.js';
import { VALUE_LIMITS } from '../../job/limits.js';
import type { Settlement } from '../../job/verbs.js';
import { carryMs } from '../../kit/carry-time.js';
import { parseJson } from '../../kit/json.js';
import type { Log } from '../../log.js';
import type { Call } from '../../wires/queue-xec/calls.js';
import type { TransferKey } from '../../wires/queue-xec/transfer.js';
import type { Outbox } from '../outbox.js';

/** More than about 16 KB at once can hang the Master's side of a wire for ever. */
const WINDOW_BYTES = 8 * 1024;
const CONFIRM_MS = 10_000;
const RETRY_MS = 1_000;

export interface ResultsOptions {
  readonly outbox: Outbox;
  readonly key: TransferKey;
  /** What the Master is told about who did it. */
  readonly worker: string;
  /** Calls the Master; undefined if there is none. The call ends when the Master has dealt with it. */
  readonly share: (sealed: string, timeoutMs: number) => Call | undefined;
  /** The Master did not confirm in time: its side of the wire hangs. */
  readonly onStuck: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Carries outcomes from the outbox to the Master. queue-xec answers none; but a Master sends on what it has dealt with, and that our own
 * message comes back confirms it. What is not confirmed is sent again, so that a result may arrive twice, but none is lost.
 */
export class Results {
  readonly #options: ResultsOptions;
  #unsent: Settlement[];
  #onTheWay = 0;
  #closed = false;

  constructor(options: ResultsOptions) {
    this.#options = options;
    this.#unsent = options.outbox.pending();
  }

  /** A Master is there. */
  wake(): void {
    while (!this.#closed && this.#unsent.length > 0 && this.#onTheWay < WINDOW_BYTES) {
      const [next] = this.#unsent;
      if (next === undefined || !this.#send(next)) return;
      this.#unsent.shift();
    }
  }

  /** Resolves once the outcome is safe: on disk, or confirmed. */
  deliver(settlement: Settlement): Promise<void> {
    const safe = this.#options.outbox.put(settlement);
    this.#unsent.push(settlement);
    this.wake();
    return safe;
  }

  flush(signal: AbortSignal): Promise<void> {
    return this.#options.outbox.emptied(signal);
  }

  close(): void {
    this.#closed = true;
  }

  /** False if there is nobody to send it to. */
  #send(settlement: Settlement): boolean {
    const { key, worker, share } = this.#options;
    const text = JSON.stringify({
      jobID: parseJson(settlement.id, VALUE_LIMITS),
      worker: { name: worker },
      data: dataOf(settlement.outcome),
    });
    const sealed = JSON.stringify(key.seal(text));
    const call = share(sealed, CONFIRM_MS + carryMs(sealed.length));
    if (call === undefined) return false;
    void this.#confirm(settlement, call);
    return true;
  }

  async #confirm(settlement: Settlement, { bytes, answered }: Call): Promise<void> {
    const { outbox, clock, log, onStuck } = this.#options;
    this.#onTheWay += bytes;
    let confirmed = true;
    try {
      await answered;
      outbox.acknowledge(settlement);
    } catch (error) {
      confirmed = false;
      log.debug('a result was not confirmed', { job: settlement.id, error });
      if (error instanceof PeerworkError && error.code === 'rpc-timeout') onStuck();
    }
    this.#onTheWay -= bytes;
    if (!confirmed) {
      this.#unsent.unshift(settlement);
      await pause(clock, RETRY_MS);
    }
    this.wake();
  }
}

/** queue-xec knows no failures: the Master's `onResults` is given what it can see that it is one. */
function dataOf(outcome: Settlement['outcome'] | Outcome): Json {
  if (outcome.state === 'completed') return outcome.output;
  if (outcome.state === 'failed') return { error: { code: outcome.error.code, message: outcome.error.message } };
  return null;
}
