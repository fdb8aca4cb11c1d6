import type { WrittenOutcome } from './outcome-file.js';

/** `deleted` stands for a job that was deleted before it ended, and so will never have an outcome. */
type Ended = WrittenOutcome['state'] | 'deleted';

/** The jobs of one input, each with its known state. A job that has ended may be reopened, and end again. */
export class Batch {
  readonly #states = new Map<string, 'open' | Ended>();
  readonly #counts = { open: 0, completed: 0, failed: 0, cancelled: 0, deleted: 0 };
  /** Outcomes of jobs that failed or were cancelled. */
  readonly #failures = new Map<string, WrittenOutcome>();

  get size(): number {
    return this.#states.size;
  }

  get open(): number {
    return this.#counts.open;
  }

  get counts(): Readonly<Record<Ended, number>> {
    return this.#counts;
  }

  get ids(): IterableIterator<string> {
    return this.#states.keys();
  }

  get openIds(): string[] {
    return this.#idsOf('open');
  }

  get deletedIds(): string[] {
    return this.#idsOf('deleted');
  }

  get failures(): readonly WrittenOutcome[] {
    return [...this.#failures.values()];
  }

  stateOf(id: string): 'open' | Ended | undefined {
    return this.#states.get(id);
  }

  /** Adds a job, or records that it waits or runs again. */
  setOpen(id: string): void {
    this.#move(id, 'open');
    this.#failures.delete(id);
  }

  setDeleted(id: string): void {
    this.#move(id, 'deleted');
    this.#failures.delete(id);
  }

  setEnded(outcome: WrittenOutcome): void {
    this.#move(outcome.id, outcome.state);
    if (outcome.state === 'completed') this.#failures.delete(outcome.id);
    else this.#failures.set(outcome.id, outcome);
  }

  #idsOf(wanted: 'open' | Ended): string[] {
    return [...this.#states].filter(([, state]) => state === wanted).map(([id]) => id);
  }

  #move(id: string, state: 'open' | Ended): void {
    const before = this.#states.get(id);
    if (before !== undefined) this.#counts[before] -= 1;
    this.#counts[state] += 1;
    this.#states.set(id, state);
  }
}
