/**
 * Records which jobs a child has begun, visible to both sides even while the child spins in a synchronous loop.
 *
 * An unlinked file of two numbers, `begun` and `revoked`, that parent and child read and write by descriptor. The child writes `begun =
 * n` and then reads `revoked`; the parent writes `revoked` and then reads `begun`. Whichever write came first, the other side sees it: if
 * the child read a `revoked` below n, the parent will read a `begun` of at least n and leave the job alone. Only if both happen at once
 * do both back off; then the child sends `back` and the parent decides.
 */
import { file, Words } from './primordials.js';

const BEGUN = 0;
const REVOKED = 4;
export const FENCE_BYTES = 8;

export class Fence {
  readonly #fd: number;
  readonly #cell = new Words(1);

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Child side: returns true if job `number` may begin. */
  begin(number: number): boolean {
    this.#write(BEGUN, number);
    return this.#read(REVOKED) < number;
  }

  /** Parent side: revokes every job up to `number` that has not begun, and returns the last one that has. */
  revoke(number: number): number {
    this.#write(REVOKED, number);
    return this.begun();
  }

  begun(): number {
    return this.#read(BEGUN);
  }

  #write(at: number, number: number): void {
    this.#cell[0] = number;
    file.writeSync(this.#fd, this.#cell, 0, 4, at);
  }

  #read(at: number): number {
    file.readSync(this.#fd, this.#cell, 0, 4, at);
    return this.#cell[0] ?? 0;
  }
}
