import type { Clock } from '../../../clock.js';
import { PeerworkError } from '../../../errors.js';
import type { Json, Outcome } from '../../../job/job.js';
import { VALUE_LIMITS } from '../../../job/limits.js';
import type { Settlement } from '../../../job/verbs.js';
import { carryMs } from '../../../kit/deadline.js';
import { parseJson } from '../../../kit/json.js';
import type { Log } from '../../../log.js';
import type { Outbox } from '../../../sources/outbox.js';
import { OutcomeSender } from '../../../sources/outcome-sender.js';
import { QueueXecError } from '../errors.js';
import type { Call } from '../protocol/calls.js';
import type { TransferKey } from '../protocol/transfer.js';

/** Limit for unconfirmed bytes: more than about 16 KB at once can hang the Master's end of a connection forever. */
const WINDOW_BYTES = 8 * 1024;
/**
 * Threshold for a large result, whose echo strains the Master's end: it is sent alone, and above all with no request in flight, whose jobs
 * would be lost.
 */
const LARGE_BYTES = 4 * 1024;
/** Limit for a Master of ours, which does not hang, and replies. */
const OWN_WINDOW_BYTES = 1024 * 1024;
const CONFIRM_MS = 10_000;
const RETRY_MS = 1_000;

export interface ResultsOptions {
  readonly outbox: Outbox;
  readonly key: TransferKey;
  /** Name of this worker in results. */
  readonly worker: string;
  /** Sends a result to the Master; undefined if there is none. The call ends when the Master has processed it. */
  readonly share: (sealed: string, timeoutMs: number) => Call | undefined;
  /** Whether the Master is one of ours. */
  readonly isOurs: () => boolean;
  /** Whether a request for work is in flight. */
  readonly isRequesting: () => boolean;
  /** Called when a request that waited for a large result may be sent. */
  readonly onRoom: () => void;
  /** Called when the Master did not confirm in time: its end of the connection hangs. */
  readonly onStuck: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Delivers outcomes from the outbox to the Master. queue-xec confirms nothing, but a Master relays each message it has processed, so the
 * echo of our own message serves as confirmation. Unconfirmed results are sent again: a result may arrive twice, but none is lost.
 */
export class Results {
  readonly #options: ResultsOptions;
  readonly #sender: OutcomeSender;
  #unconfirmedBytes = 0;
  #large = false;
  #strained = false;

  constructor(options: ResultsOptions) {
    this.#options = options;
    const { outbox, clock, log, onStuck } = options;
    this.#sender = new OutcomeSender({
      ...{ outbox, clock, firstMs: RETRY_MS, capMs: RETRY_MS },
      send: (settlement) => this.#send(settlement),
      onFault: ({ id }, error) => {
        log.debug('a result was not confirmed', { job: id, error });
        if (error instanceof PeerworkError && error.code === 'rpc-timeout') onStuck();
        return undefined;
      },
    });
  }

  /** Call when there is a Master, or room on the connection. */
  wake(): void {
    this.#sender.sendAll();
  }

  /** Whether a large result is in flight, or waits for the open request to end: no further request may be sent. */
  get large(): boolean {
    return this.#large;
  }

  /** Whether a large result has been sent since the last call: the Master's end of the connection may hang. */
  takeStrained(): boolean {
    const strained = this.#strained;
    this.#strained = false;
    return strained;
  }

  /** Resolves once the outcome is stored on disk or confirmed. */
  deliver(settlement: Settlement): Promise<void> {
    return this.#sender.deliver(settlement);
  }

  /**
   * Sends a result that the embedding program has sealed itself. Resolves when the Master has processed it; it is not stored. Rejects with
   * `queue-xec-absent`.
   */
  async shareSealed(sealed: string): Promise<void> {
    const call = this.#options.share(sealed, CONFIRM_MS + carryMs(sealed.length));
    if (call === undefined) throw new QueueXecError('queue-xec-absent');
    await call.answered;
  }

  flush(signal: AbortSignal): Promise<void> {
    return this.#sender.flush(signal);
  }

  close(): Promise<void> {
    return this.#sender.close();
  }

  /** Returns undefined if there is no Master, or the result has to wait. */
  #send(settlement: Settlement): Promise<'accepted'> | undefined {
    const { key, worker, share, isOurs, isRequesting } = this.#options;
    if (this.#unconfirmedBytes >= (isOurs() ? OWN_WINDOW_BYTES : WINDOW_BYTES)) return undefined;
    const text = JSON.stringify({
      // A job pushed without an id has none here either.
      ...(settlement.id !== '' && { jobID: parseJson(settlement.id, VALUE_LIMITS) }),
      worker: { name: worker },
      data: dataOf(settlement.outcome),
    });
    // Sealing doubles the size, since it is hexadecimal.
    const isLarge = !isOurs() && 2 * text.length > LARGE_BYTES;
    if (isLarge) {
      this.#large = true;
      if (this.#unconfirmedBytes > 0 || isRequesting()) return undefined;
    }
    const sealed = JSON.stringify(key.seal(text));
    const call = share(sealed, CONFIRM_MS + carryMs(sealed.length));
    if (isLarge) {
      this.#large = call !== undefined;
      this.#strained ||= call !== undefined;
    }
    return call && this.#confirmed(call);
  }

  async #confirmed({ bytes, answered }: Call): Promise<'accepted'> {
    this.#unconfirmedBytes += bytes;
    try {
      await answered;
      return 'accepted';
    } finally {
      this.#unconfirmedBytes -= bytes;
      this.#large = false;
      // After the reactions to this result.
      setImmediate(() => {
        this.#sender.wake();
        this.#options.onRoom();
      });
    }
  }
}

/** queue-xec has no notion of failure: the Master's `onResults` receives a value that it can recognize as one. */
function dataOf(outcome: Settlement['outcome'] | Outcome): Json {
  if (outcome.state === 'completed') return outcome.output;
  if (outcome.state === 'failed') return { error: { code: outcome.error.code, message: outcome.error.message } };
  return null;
}
