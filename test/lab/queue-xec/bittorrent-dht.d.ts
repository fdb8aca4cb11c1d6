/** The part of bittorrent-dht 11 that we use; the package has no types of its own. */
declare module 'bittorrent-dht' {
  export class Client {
    constructor(options: { bootstrap?: readonly string[]; maxTables?: number; concurrency?: number });
    on(event: 'peer', listener: (peer: { host: string; port: number }, infoHash: Uint8Array) => void): this;
    on(event: 'error' | 'warning', listener: (error: Error) => void): this;
    listen(port: number, address: string | undefined, listening: () => void): void;
    announce(infoHash: Uint8Array, port: number, done: (error?: Error | null) => void): () => void;
    address(): { address: string; port: number };
    destroy(done?: () => void): void;
  }
}
