import type { Duplex } from 'node:stream';

/** A way through a source to the one address that its owner allows a job. It ends with the lease. */
export interface Tunnel {
  /** One connection to the address, as long as the signal lasts. Rejects with `tunnel-…` or a link error. */
  open(signal: AbortSignal): Promise<Duplex>;
}
