/** The part of bittorrent-tracker 9's server that we use; the package has no types of its own. */
declare module 'bittorrent-tracker/server.js' {
  export default class Server {
    constructor(options: {
      http: false;
      udp: false;
      /** Whether it opens a server of its own. */
      ws: boolean;
      stats: false;
      /** Milliseconds; peers are told to announce five times as often. */
      interval?: number;
      /** Most peers of one swarm; the least recently heard of is forgotten. Default 1000. */
      peersCacheLength?: number;
      peersCacheTtl?: number;
    });
    /** By info hash in hex. A swarm is never removed by the server itself. */
    readonly torrents: Record<string, { readonly peers: { readonly length: number } }>;
    on(event: 'warning' | 'error', listener: (error: Error) => void): this;
    /** Takes what looks like a socket of `ws`: emits `message`, `error` and `close`. */
    onWebSocketConnection(socket: NodeJS.EventEmitter & { send(text: string, sent?: (error?: Error) => void): void }): void;
    close(closed?: () => void): void;
  }
}
