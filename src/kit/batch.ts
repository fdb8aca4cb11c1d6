/** Items collected until they are taken. At most `max` are kept; if there were more, `more` follows in their place. */
export class Batch<T> {
  readonly #max: number;
  readonly #more: T;
  #items: T[] = [];
  #overflowed = false;

  constructor(max: number, more: T) {
    this.#max = max;
    this.#more = more;
  }

  add(item: T): void {
    if (this.#items.length < this.#max) this.#items.push(item);
    else this.#overflowed = true;
  }

  /** Returns the items since the last call. */
  take(): T[] {
    const items = this.#overflowed ? [...this.#items, this.#more] : this.#items;
    this.#items = [];
    this.#overflowed = false;
    return items;
  }
}
