import { createSocket, type Socket } from 'node:dgram';
import type { Log } from '../../../log.js';

const FAILURE_HINT =
  'No action needed if the others are found through trackers or by address. Otherwise enable multicast in this network, or remove `--queue-xec-lsd`.';

/** Local service discovery (BEP 14): peers of one network find each other by multicast. */
const GROUP = '239.192.152.143';
const PORT = 6771;
const MAX_BYTES = 1_400;

export interface LsdOptions {
  /** Address of the interface to use; default: the system's choice. */
  readonly interface?: string;
}

/** Announces a room by multicast, and reports the peers that announce the same one. */
export class Lsd {
  readonly #options: LsdOptions;
  readonly #infoHash: string;
  readonly #cookie: string;
  readonly #log: Log;
  readonly #onPeer: (host: string, port: number) => void;
  #socket: Socket | undefined;

  constructor(options: LsdOptions, infoHash: string, cookie: string, log: Log, onPeer: (host: string, port: number) => void) {
    this.#options = options;
    this.#infoHash = infoHash;
    this.#cookie = cookie;
    this.#log = log;
    this.#onPeer = onPeer;
  }

  /** Never rejects: without multicast there are other ways to discover members. */
  async start(): Promise<void> {
    const socket = createSocket({ type: 'udp4', reuseAddr: true });
    this.#socket = socket;
    const { interface: via } = this.#options;
    await new Promise<void>((resolve) => {
      socket.on('error', (error) => {
        this.#log.warn('local discovery does not work', { error, hint: FAILURE_HINT });
        this.close();
        resolve();
      });
      socket.on('message', (bytes, { address }) => this.#read(bytes, address));
      socket.bind(PORT, () => {
        try {
          if (via !== undefined) socket.setMulticastInterface(via);
          socket.addMembership(GROUP, via);
        } catch (error) {
          this.#log.warn('local discovery does not work', { error, hint: FAILURE_HINT });
          this.close();
        }
        resolve();
      });
    });
  }

  /** Announces that this room is reachable at `port` of this machine. */
  announce(port: number): void {
    const lines = [
      'BT-SEARCH * HTTP/1.1',
      `Host: ${GROUP}:${PORT}`,
      `Port: ${port}`,
      `Infohash: ${this.#infoHash}`,
      `cookie: ${this.#cookie}`,
    ];
    this.#socket?.send(`${lines.join('\r\n')}\r\n\r\n\r\n`, PORT, GROUP, (error) => {
      if (error !== null) this.#log.debug('a local announce failed', { error });
    });
  }

  close(): void {
    this.#socket?.close();
    this.#socket = undefined;
  }

  #read(bytes: Buffer, host: string): void {
    if (bytes.length > MAX_BYTES) return;
    const [first, ...lines] = bytes.toString('latin1').split('\r\n');
    if (first !== 'BT-SEARCH * HTTP/1.1') return;
    const values = lines.map((line) => /^(port|infohash|cookie): (.*)$/i.exec(line));
    const all = (name: string) => values.flatMap((found) => (found?.[1]?.toLowerCase() === name ? [found[2] ?? ''] : []));
    if (all('cookie').includes(this.#cookie) || !all('infohash').some((hash) => hash.toLowerCase() === this.#infoHash)) return;
    const port = Number(all('port')[0]);
    if (Number.isInteger(port) && port > 0 && port < 65_536) this.#onPeer(host, port);
  }
}
