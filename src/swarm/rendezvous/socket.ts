/** Port to a WebSocket, small enough that a browser's own implements it. */
export interface TextSocket {
  /** No-op unless the socket is open. */
  send(text: string): void;
  /** Flushes what was sent before, then closes. No listener is called any more. */
  close(): void;
}

/** Machine-readable facts about the end of a socket. */
export interface SocketEnd {
  /** A server was there and refused: each further attempt costs both sides a whole connection. */
  readonly refused?: boolean;
  /** The pause that the server requested. */
  readonly retryAfterMs?: number;
}

/** Never called before `openSocket` has returned. */
export interface TextSocketListener {
  opened(): void;
  message(text: string): void;
  /** Called once, even if the socket never opened; `reason` is for people. */
  closed(reason: string, end?: SocketEnd): void;
}

/**
 * Opens a WebSocket. Messages above `maxMessageBytes` end it, and so does a server that vanishes without closing. May throw on an invalid
 * URL.
 */
export type OpenSocket = (url: string, listener: TextSocketListener, options: { readonly maxMessageBytes: number }) => TextSocket;
