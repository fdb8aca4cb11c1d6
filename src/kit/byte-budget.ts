/** Bytes that many may hold together. What is small passes always: a budget that is used up must not stop what keeps a system alive. */
export class ByteBudget {
  readonly #most: number;
  readonly #small: number;
  #taken = 0;

  /** @param small up to this nothing is refused */
  constructor(most: number, small = 64 * 1024) {
    this.#most = most;
    this.#small = small;
  }

  /** False: there is no room for so many. What was taken must be given back once. */
  take(bytes: number): boolean {
    if (bytes > this.#small && this.#taken + bytes > this.#most) return false;
    this.#taken += bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#taken -= bytes;
  }
}
