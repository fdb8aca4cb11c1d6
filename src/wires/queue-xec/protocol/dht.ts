import { optionalPackage } from '../../../kit/optional-package.js';
import type { Log } from '../../../log.js';

const FAILURE_HINT =
  'No action needed if the others are found through trackers. Otherwise allow UDP in the firewall, or use other nodes with `--queue-xec-dht`.';

/** The part of bittorrent-dht that we use; the package has no types of its own. */
interface DhtClient {
  on(event: 'peer', listener: (peer: { readonly host: string; readonly port: number }, infoHash: Uint8Array) => void): unknown;
  on(event: 'error' | 'warning', listener: (error: Error) => void): unknown;
  listen(port: number, address: string | undefined, listening: () => void): void;
  announce(infoHash: Uint8Array, port: number, done: (error?: Error | null) => void): unknown;
  destroy(done: () => void): void;
}
interface DhtPackage {
  readonly Client: new (options: { readonly bootstrap?: readonly string[] }) => DhtClient;
}

export interface DhtOptions {
  /** Bootstrap nodes as `host:port`; default: the public ones. */
  readonly nodes?: readonly string[];
  /** Local address; default: all addresses. */
  readonly host?: string;
}

/** BitTorrent's mainline DHT: members of a room find each other without a tracker. */
export class Dht {
  readonly #options: DhtOptions;
  readonly #infoHash: Buffer;
  readonly #log: Log;
  readonly #onPeer: (host: string, port: number) => void;
  #client: DhtClient | undefined;

  constructor(options: DhtOptions, infoHash: Buffer, log: Log, onPeer: (host: string, port: number) => void) {
    this.#options = options;
    this.#infoHash = infoHash;
    this.#log = log;
    this.#onPeer = onPeer;
  }

  /** Never rejects. Loads its code lazily, because most rooms do without the DHT. */
  async start(): Promise<void> {
    const { nodes, host } = this.#options;
    try {
      const { Client } = (await optionalPackage('bittorrent-dht')) as DhtPackage;
      const client = new Client(nodes === undefined ? {} : { bootstrap: nodes });
      this.#client = client;
      client.on('peer', (peer, infoHash) => {
        if (this.#infoHash.equals(infoHash)) this.#onPeer(peer.host, peer.port);
      });
      client.on('warning', (error) => this.#log.debug('the DHT warns', { error }));
      client.on('error', (error) => this.#log.warn('the DHT does not work', { error, hint: FAILURE_HINT }));
      await new Promise<void>((resolve) => client.listen(0, host, resolve));
    } catch (error) {
      this.#log.warn('the DHT does not work', { error, hint: FAILURE_HINT });
    }
  }

  /** Looks for other members, and announces that this one is reachable at `port` of this machine. */
  announce(port: number): void {
    this.#client?.announce(this.#infoHash, port, (error) => {
      if (error) this.#log.debug('no node of the DHT took the announce', { error });
    });
  }

  async close(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    if (client !== undefined) await new Promise<void>((resolve) => client.destroy(() => resolve()));
  }
}
