import type { LeaseKey } from '../job/verbs.js';

interface Held {
  readonly lease: number;
  /** In which answer to `requestWork` it was handed out; 0: the Worker has named it itself. */
  readonly answer: number;
}

/** What a Worker has said of its leases. */
interface Named {
  readonly holding: readonly LeaseKey[];
  readonly waiting?: readonly LeaseKey[];
  readonly ended?: readonly LeaseKey[];
  /** How many answers to `requestWork` it has received. */
  readonly answers?: number;
}

/**
 * The leases of one Worker, as far as its link knows. While it is heard, those are renewed that it has named itself the last time, and those on their
 * way to it: it cannot name what it has not received. What it has received and does not name, it has lost.
 */
export class HeldLeases {
  readonly #held = new Map<string, Held>();
  #named = new Set<string>();
  #waiting = new Set<string>();
  #ended = new Set<string>();
  #answers = 0;
  #received = 0;

  get size(): number {
    return this.#held.size;
  }

  has({ id, lease }: LeaseKey): boolean {
    return this.#held.get(id)?.lease === lease;
  }

  forget({ id, lease }: LeaseKey): void {
    if (this.#held.get(id)?.lease === lease) this.#held.delete(id);
  }

  /** These go to the Worker in one answer. */
  handOut(keys: readonly LeaseKey[]): void {
    this.#answers += 1;
    for (const { id, lease } of keys) this.#held.set(id, { lease, answer: this.#answers });
  }

  /** A beat. `answers` is not said by a Worker that is older than it: it has received all. */
  name({ holding, waiting = [], ended = [], answers = this.#answers }: Named): void {
    this.#named = new Set(holding.map(nameOf));
    this.#waiting = new Set(waiting.map(nameOf));
    this.#ended = new Set(ended.map(nameOf));
    this.#received = answers;
  }

  /** A greeting: from now on these are its leases. */
  greet(holding: readonly LeaseKey[]): void {
    for (const { id, lease } of holding) this.#held.set(id, { lease, answer: 0 });
    this.name({ holding });
  }

  /** What is renewed while the Worker is heard. */
  renewable(): { leases: LeaseKey[]; waiting: LeaseKey[]; ended: LeaseKey[] } {
    const leases: LeaseKey[] = [];
    const undelivered: LeaseKey[] = [];
    for (const [id, { lease, answer }] of this.#held) {
      const key = { id, lease };
      if (this.#named.has(nameOf(key))) leases.push(key);
      else if (answer > this.#received) undelivered.push(key);
    }
    const waiting = leases.filter((key) => this.#waiting.has(nameOf(key)));
    const ended = leases.filter((key) => this.#ended.has(nameOf(key)));
    return { leases: [...leases, ...undelivered], waiting: [...waiting, ...undelivered], ended };
  }
}

function nameOf({ id, lease }: LeaseKey): string {
  return `${lease} ${id}`;
}
