import type { Clock, Timer } from '../clock.js';

export interface RenewalOptions {
  readonly clock: Clock;
  /** Of leases. */
  readonly leaseMs: number;
  /** Renews the leases of those that were heard of since the last time. */
  readonly renew: () => void;
}

/** A look at what came over the links, six times in the length of a lease: a beat that is late must not cost a lease while its Worker is heard. */
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
