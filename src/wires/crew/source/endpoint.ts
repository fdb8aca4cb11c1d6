import { createHash, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Clock } from '../../../clock.js';
import { PeerworkError } from '../../../errors.js';
import type { Outcome } from '../../../job/job.js';
import { ByteBudget, boundedBytes, TooManyBytes } from '../../../kit/bounded-bytes.js';
import { JsonRefused, parseJson } from '../../../kit/json.js';
import { listenError } from '../../../kit/system-error.js';
import { DEFAULT_ENDPOINT_HOST } from '../defaults.js';
import { CrewError } from '../errors.js';
import { isFields } from '../fields.js';
import type { CrewEndpointOptions } from './options.js';
import { releaseOf } from './release.js';
import { type CrewTask, readAcquired } from './task.js';

/** crew's own limit for request bodies. */
const MAX_BODY_BYTES = 10 * 1024 * 1024;
/** Total size of the bodies of all calls that are being read, pending or running. */
const MAX_BODIES_BYTES = 64 * 1024 * 1024;
const BODY_MS = 30_000;
const CLOSE_MS = 1_000;
const LOOPBACK = /^(127\.\d+\.\d+\.\d+|localhost|\[?::1\]?)$/;

/** A task sent by an operator of crew, until it is replied to. */
export interface Call {
  readonly channel: string;
  readonly task: CrewTask;
  /** Aborted when the caller disconnects. */
  readonly signal: AbortSignal;
  respond(outcome: Outcome): void;
}

export interface EndpointOptions extends CrewEndpointOptions {
  readonly channels: ReadonlySet<string>;
  /** Number of pending calls above which further ones are refused. */
  readonly maxWaiting: number;
  readonly clock: Clock;
  readonly onCall: () => void;
}

/** Throws `option-invalid` if anybody on the network could send tasks. */
export function checkEndpoint({ host = DEFAULT_ENDPOINT_HOST, token }: CrewEndpointOptions): void {
  if (token === undefined && !LOOPBACK.test(host))
    throw new PeerworkError('option-invalid', `the endpoint for operators of crew needs a token on ${host}`);
  if (token === '') throw new PeerworkError('option-invalid', 'the token of the endpoint for operators of crew is empty');
}

/**
 * Receives tasks from operators of crew, like crew's own HttpWorker: `POST /execute/<channel>` with `{input, parents, taskId}`, replied to
 * when the task has run. The endpoint does not retry; whether to call again is up to crew.
 */
export class Endpoint {
  readonly #options: EndpointOptions;
  readonly #server: Server;
  readonly #waiting: Call[] = [];
  readonly #bodies = new ByteBudget(MAX_BODIES_BYTES);
  #closed = false;

  constructor(options: EndpointOptions) {
    this.#options = options;
    this.#server = createServer({ requestTimeout: BODY_MS }, (request, response) => void this.#handle(request, response));
  }

  /** Rejects with `address-unusable`, another code derived from the system error, or `crew-endpoint-unusable`. */
  async open(): Promise<void> {
    const { host = DEFAULT_ENDPOINT_HOST, port } = this.#options;
    try {
      this.#server.listen(port, host);
      await once(this.#server, 'listening');
    } catch (error) {
      throw listenError(error, CrewError.of('crew-endpoint-unusable'), '');
    }
  }

  /** Removes and returns up to `limit` pending calls. */
  take(limit: number): Call[] {
    return this.#waiting.splice(0, limit);
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Refuses the calls that are still pending; running ones must have been replied to before. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const call of this.#waiting.splice(0)) call.respond({ state: 'released', reason: 'the worker stops' });
    this.#server.close();
    this.#server.closeIdleConnections();
    const timer = this.#options.clock.after(CLOSE_MS, () => this.#server.closeAllConnections());
    await once(this.#server, 'close');
    timer.cancel();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const url = new URL(request.url ?? '/', 'http://endpoint');
      if (request.method === 'GET') return this.#replyToProbe(url.pathname, response);
      const [, channel] = /^\/execute\/([^/]+)$/.exec(url.pathname) ?? [];
      if (request.method !== 'POST' || channel === undefined) return reply(response, 404, { error: 'There is nothing here' });
      await this.#execute(decodeURIComponent(channel), url, request, response);
    } catch (error) {
      reply(response, error instanceof URIError ? 400 : 500, { error: 'The request cannot be understood' });
    }
  }

  /** Health and readiness probes, as crew's workers serve them. */
  #replyToProbe(path: string, response: ServerResponse): void {
    if (path === '/healthcheck') reply(response, 200, { healthy: true });
    else if (path === '/readycheck') reply(response, this.#closed ? 500 : 200, { ready: !this.#closed });
    else reply(response, 404, { error: 'There is nothing here' });
  }

  async #execute(channel: string, url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { token, channels, maxWaiting } = this.#options;
    // A browser page can send anything except JSON cross-origin without a preflight, and DNS rebinding could make its name resolve to this
    // host.
    if (!/^application\/json\b/i.test(request.headers['content-type'] ?? ''))
      return reply(response, 415, { error: 'The body must be application/json' });
    if (token === undefined && !LOOPBACK.test((request.headers.host ?? '').replace(/:\d+$/, '')))
      return reply(response, 403, { error: 'Without a token this endpoint is for this machine only' });
    // With the token in a header or the query, the body need not be read to authorize it; without one, only a small body is read.
    const shown = url.searchParams.get('accessToken') ?? /^Bearer (.*)$/i.exec(request.headers.authorization ?? '')?.[1];
    if (token !== undefined && shown !== undefined && !equalTokens(shown, token)) return reply(response, 401, { error: 'Unauthorized' });
    const maxBytes = token !== undefined && shown === undefined ? 64 * 1024 : MAX_BODY_BYTES;
    const bytes = Math.min(maxBytes, Number(request.headers['content-length'] ?? maxBytes) || 0);
    if (!this.#bodies.take(bytes)) return reply(response.setHeader('retry-after', '5'), 503, { error: 'This worker has too much to do' });
    response.once('close', () => this.#bodies.giveBack(bytes));
    const body = await bodyOf(request, maxBytes);
    if (body === 'too large') return reply(response, 413, { error: 'The body is too large' });
    if (body instanceof JsonRefused) return reply(response, 400, { error: `The body cannot be used: ${body.message}` });
    if (
      token !== undefined &&
      shown === undefined &&
      !(isFields(body) && typeof body['accessToken'] === 'string' && equalTokens(body['accessToken'], token))
    )
      return reply(response, 401, { error: 'Unauthorized' });
    if (!isFields(body)) return reply(response, 400, { error: 'The body is no JSON object' });
    if (!channels.has(channel)) return reply(response, 404, { error: 'No worker for this channel' });
    const task = readAcquired({ task: { _id: body['taskId'] ?? 'call', input: body['input'] }, parents: body['parents'] });
    if (task === undefined) return reply(response, 400, { error: 'taskId cannot be used' });
    if (this.#closed || this.#waiting.length >= maxWaiting)
      return reply(response.setHeader('retry-after', '5'), 503, { error: 'This worker has too much to do' });
    this.#admit(channel, task, response);
  }

  #admit(channel: string, task: CrewTask, response: ServerResponse): void {
    const disconnected = new AbortController();
    const call: Call = {
      channel,
      task,
      signal: disconnected.signal,
      respond: (outcome) => {
        if (outcome.state === 'released') return reply(response, 503, { error: `Given back: ${outcome.reason}` });
        // Failures are replied to with 200 as well: of any other status crew reads the error alone.
        return reply(response, 200, releaseOf(outcome, this.#options.clock.wall()));
      },
    };
    response.on('close', () => {
      if (response.writableFinished) return;
      const at = this.#waiting.indexOf(call);
      if (at >= 0) this.#waiting.splice(at, 1);
      disconnected.abort();
    });
    this.#waiting.push(call);
    this.#options.onCall();
  }
}

function reply(response: ServerResponse, status: number, body: object): void {
  if (response.headersSent || response.destroyed) return;
  const text = JSON.stringify(body);
  // Close the connection rather than read the rest of an unread body.
  const close = status >= 400 ? { connection: 'close' } : {};
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text), ...close }).end(text);
}

async function bodyOf(request: IncomingMessage, maxBytes: number): Promise<unknown> {
  try {
    return parseJson(await boundedBytes(request, maxBytes), { maxBytes: maxBytes, exact: true });
  } catch (thrown) {
    if (thrown instanceof TooManyBytes) return 'too large';
    if (!(thrown instanceof JsonRefused)) throw thrown;
    return thrown.reason === 'malformed' ? undefined : thrown;
  }
}

/** Compares in constant time. */
function equalTokens(shown: string, token: string): boolean {
  const hash = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(shown), hash(token));
}
