/** Types for the part of bittorrent-tracker 9's server that we use; the package ships none. */
declare module 'bittorrent-tracker/server.js' {
  export default class Server {
    constructor(options: {
      http: false;
      udp: false;
      /** Whether the library opens a WebSocket server of its own. */
      ws: boolean;
      stats: false;
      /** Milliseconds. Peers are asked to announce five times as often. */
      interval?: number;
      /** Peers kept per swarm; beyond it the least recently seen is evicted. Default 1000. */
      peersCacheLength?: number;
      peersCacheTtl?: number;
    });
    /** Swarms by info hash in hex. The server never removes one by itself. */
    readonly torrents: Record<string, { readonly peers: { readonly length: number } }>;
    on(event: 'warning' | 'error', listener: (error: Error) => void): this;
    /** Accepts anything that looks like a socket of `ws`, that is, emits `message`, `error` and `close`. */
    onWebSocketConnection(socket: NodeJS.EventEmitter & { send(text: string, sent?: (error?: Error) => void): void }): void;
    close(closed?: () => void): void;
  }
}
