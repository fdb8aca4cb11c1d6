/** The port to a WebSocket: small enough that a browser's own fits it. */
export interface TextSocket {
  /** Does nothing unless the socket is open. */
  send(text: string): void;
  /** Sends what was given before, then ends. No listener is called any more. */
  close(): void;
}

/** What is known of a socket's end beyond words. */
export interface SocketEnd {
  /** There was a server, and it refused: another attempt costs it and us a whole connection. */
  readonly refused?: boolean;
  /** It says when to come again. */
  readonly retryAfterMs?: number;
}

/** Never called before `openSocket` has returned. */
export interface TextSocketListener {
  opened(): void;
  message(text: string): void;
  /** Called once, also if it never opened; `reason` is for people. */
  closed(reason: string, end?: SocketEnd): void;
}

/** Messages above `maxMessageBytes` end the socket, and so does a server that is gone without a word. May throw on an impossible URL. */
export type OpenSocket = (url: string, listener: TextSocketListener, options: { readonly maxMessageBytes: number }) => TextSocket;
