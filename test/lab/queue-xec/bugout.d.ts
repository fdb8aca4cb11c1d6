/** The library that queue-xec is built on, as far as tests use it; it has no types of its own. */
declare module 'bugout' {
  import type { EventEmitter } from 'node:events';

  export default class Bugout extends EventEmitter {
    constructor(identifier: string, options: { wt: object; announce: readonly string[]; torrentOpts: { path: string } });
    readonly torrent: {
      readonly infoHash?: string;
      readonly ready: boolean;
      addPeer(address: string): boolean;
      readonly wires: readonly object[];
    };
    address(): string;
    register(name: string, serve: (from: string, args: unknown, answer: (value: unknown) => void) => void): void;
    rpc(address: string, name: string, args: unknown, answered: (answer: never) => void): void;
    send(message: unknown): void;
  }
}

declare module 'webtorrent' {
  import type { EventEmitter } from 'node:events';

  export default class WebTorrent extends EventEmitter {
    constructor(options: { dht: false | object; lsd: boolean; tracker: false; utp: false; torrentPort?: number });
    readonly listening: boolean;
    readonly torrentPort: number;
  }
}
