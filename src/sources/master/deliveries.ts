import type { Clock, Timer } from '../../clock.js';
import { MAX_MESSAGE_BYTES } from '../../job/limits.js';
import { checked, type Settlement, shareResultsAnswer } from '../../job/verbs.js';
import type { Log } from '../../log.js';
import type { Rpc } from '../../swarm/peer.js';
import type { Outbox } from '../outbox.js';

const MAX_RESULTS = 1_000;
const RETRY_MS = 1_000;
/** While a message is under way, outcomes gather for so long, or until there are so many: thousands a second go in few messages and transactions. */
const GATHER_MS = 5;
const GATHERED = 200;
/** Half of what a message may hold: the estimate below counts characters, not bytes. */
const MAX_BATCH_CHARS = MAX_MESSAGE_BYTES / 2;

/**
 * Carries outcomes from the outbox to the Master. Outcomes of one event-loop turn travel in one message, and those that come while another is under way
 * gather a little; what was not answered when the link ended is sent again over the next one.
 */
export class Deliveries {
  readonly #outbox: Outbox;
  readonly #clock: Clock;
  readonly #log: Log;
  #unsent: Settlement[] = [];
  #rpc: Rpc | undefined;
  #scheduled = false;
  #gathering: Timer | undefined;
  #underWay = 0;

  constructor(outbox: Outbox, clock: Clock, log: Log) {
    this.#outbox = outbox;
    this.#clock = clock;
    this.#log = log;
  }

  /** A link is up and the Master knows us: everything that waits goes out. */
  connect(rpc: Rpc): void {
    this.#rpc = rpc;
    this.#unsent = this.#outbox.pending();
    this.#schedule();
  }

  disconnect(rpc: Rpc): void {
    if (this.#rpc === rpc) this.#rpc = undefined;
  }

  /** Resolves once the outcome is safe: on disk, or acknowledged. */
  deliver(settlement: Settlement): Promise<void> {
    const safe = this.#outbox.put(settlement);
    this.#unsent.push(settlement);
    this.#schedule();
    return safe;
  }

  /** Resolves when the outbox is empty, or the signal aborts. */
  flush(signal: AbortSignal): Promise<void> {
    return this.#outbox.emptied(signal);
  }

  #schedule(): void {
    if (this.#scheduled || this.#rpc === undefined || this.#unsent.length === 0) return;
    if (this.#underWay > 0 && this.#unsent.length < GATHERED) {
      this.#gathering ??= this.#clock.after(GATHER_MS, () => this.#sendSoon(), { unref: true });
      return;
    }
    this.#sendSoon();
  }

  #sendSoon(): void {
    this.#gathering?.cancel();
    this.#gathering = undefined;
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      while (this.#rpc !== undefined && this.#unsent.length > 0) void this.#send(this.#rpc, this.#take());
    });
  }

  #take(): Settlement[] {
    let chars = 0;
    let count = 0;
    for (const { outcome } of this.#unsent) {
      chars += 300;
      if (outcome.state !== 'released') chars += weigh(outcome.output);
      if (outcome.state === 'completed') chars += weigh(outcome.children);
      if (count > 0 && (count === MAX_RESULTS || chars > MAX_BATCH_CHARS)) break;
      count += 1;
    }
    return this.#unsent.splice(0, count);
  }

  async #send(rpc: Rpc, results: Settlement[]): Promise<void> {
    this.#underWay += 1;
    try {
      const { answers } = checked(shareResultsAnswer, await rpc.call('shareResults', { results }));
      for (const [at, result] of results.entries()) {
        const answer = answers[at];
        if (answer === undefined) throw new Error('the Master answered too few results');
        if (answer === 'stale') this.#log.warn('an outcome came too late and was refused', { job: result.id, lease: result.lease });
        this.#outbox.acknowledge(result);
      }
    } catch (error) {
      this.#log.debug('outcomes could not be delivered', { results: results.length, error });
      // The link may be alive (the Master's disk is full, say): ask again on this one, or wait for the next.
      if (this.#rpc === rpc) this.#clock.after(RETRY_MS, () => this.#retry(rpc, results), { unref: true });
    } finally {
      this.#underWay -= 1;
    }
  }

  #retry(rpc: Rpc, results: Settlement[]): void {
    if (this.#rpc !== rpc) return;
    this.#unsent.push(...results);
    this.#schedule();
  }
}

function weigh(output: unknown): number {
  if (typeof output === 'string') return output.length;
  if (typeof output !== 'object' || output === null) return 20;
  return JSON.stringify(output).length;
}
