import { type LeaseKey, leaseKeyOf } from '../job/verbs.js';

interface Held {
  readonly lease: number;
  /** Number of the `requestWork` response that delivered it; 0 if the Worker named the lease itself. */
  readonly response: number;
}

/** A Worker's own statement about its leases, from a beat or a greeting. */
interface Beat {
  readonly holding: readonly LeaseKey[];
  readonly waiting?: readonly LeaseKey[];
  readonly ended?: readonly LeaseKey[];
  /** Number of `requestWork` responses that the Worker has received. */
  readonly answers?: number;
}

/**
 * The leases of one Worker, as far as its link knows. While the Worker is heard, two kinds are renewed: leases named in its last
 * beat, and leases in transit to it, which it cannot name yet. A lease that it has received but does not name is lost.
 */
export class HeldLeases {
  readonly #held = new Map<string, Held>();
  #named = new Set<string>();
  #waiting = new Set<string>();
  #ended = new Set<string>();
  #responses = 0;
  #received = 0;

  get size(): number {
    return this.#held.size;
  }

  /** Whether the Worker holds this very lease, as far as this link knows. */
  has({ id, lease }: LeaseKey): boolean {
    return this.#held.get(id)?.lease === lease;
  }

  /** Removes a lease, unless the job has been leased again since. */
  forget({ id, lease }: LeaseKey): void {
    if (this.#held.get(id)?.lease === lease) this.#held.delete(id);
  }

  /** Records leases that go to the Worker in one response. */
  handOut(keys: readonly LeaseKey[]): void {
    this.#responses += 1;
    for (const { id, lease } of keys) this.#held.set(id, { lease, response: this.#responses });
  }

  /** Records a beat. A Worker that predates `answers` does not send it and counts as having received everything. */
  recordBeat({ holding, waiting = [], ended = [], answers = this.#responses }: Beat): void {
    this.#named = new Set(holding.map(leaseKeyOf));
    this.#waiting = new Set(waiting.map(leaseKeyOf));
    this.#ended = new Set(ended.map(leaseKeyOf));
    this.#received = answers;
  }

  /** Records a greeting, which replaces what the Worker named before. */
  greet(holding: readonly LeaseKey[]): void {
    for (const { id, lease } of holding) this.#held.set(id, { lease, response: 0 });
    this.recordBeat({ holding });
  }

  /** Returns the leases to renew while the Worker is heard. */
  renewable(): { leases: LeaseKey[]; waiting: LeaseKey[]; ended: LeaseKey[] } {
    const leases: LeaseKey[] = [];
    const undelivered: LeaseKey[] = [];
    for (const [id, { lease, response }] of this.#held) {
      const key = { id, lease };
      if (this.#named.has(leaseKeyOf(key))) leases.push(key);
      else if (response > this.#received) undelivered.push(key);
    }
    const waiting = leases.filter((key) => this.#waiting.has(leaseKeyOf(key)));
    const ended = leases.filter((key) => this.#ended.has(leaseKeyOf(key)));
    return { leases: [...leases, ...undelivered], waiting: [...waiting, ...undelivered], ended };
  }
}
