import type { Clock, Timer } from '../clock.js';

export interface RenewalOptions {
  readonly clock: Clock;
  /** Length of leases, in milliseconds. */
  readonly leaseMs: number;
  /** Renews the leases of the workers heard since the last call. */
  readonly renew: () => void;
}

/** Checks received traffic six times per lease: a late beat must not cost a lease while its Worker is heard. */
export class Renewal {
  readonly #options: RenewalOptions;
  #timer: Timer | undefined;

  constructor(options: RenewalOptions) {
    this.#options = options;
  }

  start(): void {
    const { clock, leaseMs, renew } = this.#options;
    this.#timer = clock.after(
      Math.ceil(leaseMs / 6),
      () => {
        renew();
        this.start();
      },
      { unref: true },
    );
  }

  close(): void {
    this.#timer?.cancel();
  }
}
