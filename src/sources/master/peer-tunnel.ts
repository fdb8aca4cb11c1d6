import type { Duplex } from 'node:stream';
import { asPeerworkError, PeerworkError } from '../../errors.js';
import type { Tunnel } from '../../job/source.js';
import type { LeaseKey } from '../../job/verbs.js';
import type { Rpc } from '../../swarm/peer.js';
import { onAbort } from '../../swarm/rpc/on-abort.js';
import { StreamDuplex } from './stream-duplex.js';

/** Longer than the Master's connection attempt, so that its answer with the reason arrives. */
const OPEN_LIMIT_MS = 15_000;

/**
 * The tunnel of one lease. Connections use the link to the Master that is up when they are opened. They end with that link, like with a cut
 * cable, and all of them with the lease; new ones can be opened over the next link.
 */
export class PeerTunnel implements Tunnel {
  readonly #key: LeaseKey;
  readonly #rpc: () => Rpc | undefined;
  readonly #open = new Set<StreamDuplex>();
  #closed = false;

  constructor(key: LeaseKey, rpc: () => Rpc | undefined) {
    this.#key = key;
    this.#rpc = rpc;
  }

  /** Opens a connection. Aborting the signal also ends it. */
  async open(signal: AbortSignal): Promise<Duplex> {
    if (this.#closed) throw new PeerworkError('tunnel-lease-ended');
    if (signal.aborted) throw new PeerworkError('rpc-cancelled');
    const rpc = this.#rpc();
    if (rpc === undefined) throw new PeerworkError('link-lost');
    const connection = new StreamDuplex((upload, stop) =>
      rpc.stream('openTunnel', this.#key, { signal: stop, upload, timeoutMs: OPEN_LIMIT_MS }),
    );
    const forget = onAbort(signal, () => connection.destroy(new PeerworkError('rpc-cancelled')));
    this.#open.add(connection);
    connection.once('close', () => {
      forget();
      this.#open.delete(connection);
    });
    try {
      await connection.accepted;
    } catch (thrown) {
      const error = asPeerworkError(thrown);
      throw error.code === 'rpc-unknown-verb' ? new PeerworkError('tunnel-unsupported') : error;
    }
    return connection;
  }

  /** Called when the lease has ended. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#open) connection.destroy(new PeerworkError('tunnel-lease-ended'));
  }
}
