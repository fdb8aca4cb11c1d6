import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { Duplex } from 'node:stream';
import { openConnection } from '../crawl/network.js';
import { within } from '../kit/deadline.js';

const CONNECT_MS = 15_000;

export interface Call {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal: AbortSignal;
}

type Connected = (error: Error | null, socket: Duplex) => void;

/** HTTP and HTTPS over keep-alive connections: one request, one response; redirects are not followed. */
export class Fetcher {
  readonly #http: HttpAgent;
  readonly #https: HttpsAgent;

  /** `verify`: whether certificates must be valid. Pages are also read from hosts with invalid ones, results are not sent there. */
  constructor(proxySocket: string | undefined, { verify }: { readonly verify: boolean }) {
    const settings = { keepAlive: true, maxFreeSockets: 64, timeout: 60_000 };
    this.#http = new HttpAgent(settings);
    this.#https = new HttpsAgent(settings);
    for (const [agent, secure] of [
      [this.#http, false],
      [this.#https, true],
    ] as const) {
      Object.assign(agent, {
        createConnection({ host, port }: { readonly host: string; readonly port: number }, connected: Connected) {
          const address = { host, port: Number(port), secure, verify };
          within({ withinMs: CONNECT_MS }, (signal) => openConnection(address, proxySocket, signal)).then(
            (socket) => connected(null, socket),
            (error: Error) => connected(error, undefined as unknown as Duplex),
          );
        },
      });
    }
  }

  /** Resolves when the response headers have arrived; the body must be consumed or destroyed. */
  call(url: URL, { method = 'GET', headers = {}, body, signal }: Call): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const secure = url.protocol === 'https:';
      const start = secure ? httpsRequest : httpRequest;
      const sent = start(url, { agent: secure ? this.#https : this.#http, method, headers, signal }, (answer) => {
        // Node treats a body without a length as complete when its connection is reset, and reports the reset only on the request.
        sent.on('error', (error) => answer.destroy(error));
        resolve(answer);
      });
      sent.on('error', reject);
      sent.end(body);
    });
  }

  close(): void {
    this.#http.destroy();
    this.#https.destroy();
  }
}
