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

/** More than about 16 KB at once can hang the Master's side of a wire for ever. */
const WINDOW_BYTES = 8 * 1024;
/** What is sent back of a larger one strains that side: nothing else is on its way then, and above all no request, whose jobs would be lost. */
const LARGE_BYTES = 4 * 1024;
/** A Master of ours hangs on nothing, and answers. */
const OWN_WINDOW_BYTES = 1024 * 1024;
const CONFIRM_MS = 10_000;
const RETRY_MS = 1_000;

export interface ResultsOptions {
  readonly outbox: Outbox;
  readonly key: TransferKey;
  /** What the Master is told about who did it. */
  readonly worker: string;
  /** Calls the Master; undefined if there is none. The call ends when the Master has dealt with it. */
  readonly share: (sealed: string, timeoutMs: number) => Call | undefined;
  /** The Master is one of ours. */
  readonly isOurs: () => boolean;
  /** A request for work is open. */
  readonly isAsking: () => boolean;
  /** A request that waited for a large result may be made. */
  readonly onRoom: () => void;
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
  readonly #sender: OutcomeSender;
  #onTheWay = 0;
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

  /** A Master is there, or there is room on the wire. */
  wake(): void {
    this.#sender.sendAll();
  }

  /** A large result is on its way, or waits for the open request to be answered: no other may be made. */
  get large(): boolean {
    return this.#large;
  }

  /** Whether a large one has been on its way since this was asked last: the Master's side of the wire may hang by now. */
  takeStrained(): boolean {
    const strained = this.#strained;
    this.#strained = false;
    return strained;
  }

  /** Resolves once the outcome is safe: on disk, or confirmed. */
  deliver(settlement: Settlement): Promise<void> {
    return this.#sender.deliver(settlement);
  }

  /** One that the program around the Worker has sealed itself. Resolves when the Master has dealt with it; it is kept nowhere. Rejects with `queue-xec-absent`. */
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

  /** undefined: there is nobody to send it to, or it has to wait. */
  #send(settlement: Settlement): Promise<'accepted'> | undefined {
    const { key, worker, share, isOurs, isAsking } = this.#options;
    if (this.#onTheWay >= (isOurs() ? OWN_WINDOW_BYTES : WINDOW_BYTES)) return undefined;
    const text = JSON.stringify({
      // What was pushed without one has none here either.
      ...(settlement.id !== '' && { jobID: parseJson(settlement.id, VALUE_LIMITS) }),
      worker: { name: worker },
      data: dataOf(settlement.outcome),
    });
    // In hexadecimal once it is sealed.
    const isLarge = !isOurs() && 2 * text.length > LARGE_BYTES;
    if (isLarge) {
      this.#large = true;
      if (this.#onTheWay > 0 || isAsking()) return undefined;
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
    this.#onTheWay += bytes;
    try {
      await answered;
      return 'accepted';
    } finally {
      this.#onTheWay -= bytes;
      this.#large = false;
      // Behind what this one comes to.
      setImmediate(() => {
        this.#sender.wake();
        this.#options.onRoom();
      });
    }
  }
}

/** queue-xec knows no failures: the Master's `onResults` is given what it can see that it is one. */
function dataOf(outcome: Settlement['outcome'] | Outcome): Json {
  if (outcome.state === 'completed') return outcome.output;
  if (outcome.state === 'failed') return { error: { code: outcome.error.code, message: outcome.error.message } };
  return null;
}
