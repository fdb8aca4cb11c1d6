import { createHash, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Clock } from '../../../clock.js';
import { PeerworkError } from '../../../errors.js';
import type { Outcome } from '../../../job/job.js';
import { ByteBudget, boundedBytes, TooManyBytes } from '../../../kit/bounded-bytes.js';
import { JsonRefused, parseJson } from '../../../kit/json.js';
import { listenError } from '../../../kit/system-error.js';
import { CrewError } from '../errors.js';
import { releaseOf } from './release.js';
import { type CrewTask, isFields, readAcquired } from './task.js';

/** crew's own limit for bodies. */
const MAX_BODY_BYTES = 10 * 1024 * 1024;
/** Of all calls that are read, wait or run. */
const MAX_BODIES_BYTES = 64 * 1024 * 1024;
const BODY_MS = 30_000;
const CLOSE_MS = 1_000;
const LOOPBACK = /^(127\.\d+\.\d+\.\d+|localhost|\[?::1\]?)$/;

export interface CrewEndpointOptions {
  readonly port: number;
  /** Default `127.0.0.1`; another one needs a token. */
  readonly host?: string;
  /** What callers must show: in the query or the body as `accessToken`, or as `Authorization: Bearer …`. */
  readonly token?: string;
}

/** A task that an operator of crew has sent here, until it is answered. */
export interface Call {
  readonly channel: string;
  readonly task: CrewTask;
  /** Aborted when the caller waits no more. */
  readonly signal: AbortSignal;
  answer(outcome: Outcome): void;
}

export interface EndpointOptions extends CrewEndpointOptions {
  readonly channels: ReadonlySet<string>;
  /** More calls than this are refused while none is taken. */
  readonly maxWaiting: number;
  readonly clock: Clock;
  readonly onCall: () => void;
}

/** Throws `option-invalid` if strangers could send tasks. */
export function checkEndpoint({ host = '127.0.0.1', token }: CrewEndpointOptions): void {
  if (token === undefined && !LOOPBACK.test(host))
    throw new PeerworkError('option-invalid', `the endpoint for operators of crew needs a token on ${host}`);
  if (token === '') throw new PeerworkError('option-invalid', 'the token of the endpoint for operators of crew is empty');
}

/**
 * Where an operator of crew sends tasks, as to crew's own HttpWorker: `POST /execute/<channel>` with `{input, parents, taskId}`, answered when
 * the task has run. There is no second try here: who calls again, crew decides.
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

  /** Rejects with `address-unusable`, another code for what the system says of the address, or `crew-endpoint-unusable`. */
  async open(): Promise<void> {
    const { host = '127.0.0.1', port } = this.#options;
    try {
      this.#server.listen(port, host);
      await once(this.#server, 'listening');
    } catch (error) {
      throw listenError(error, CrewError.of('crew-endpoint-unusable'), '');
    }
  }

  /** Those that wait, at most so many. */
  take(most: number): Call[] {
    return this.#waiting.splice(0, most);
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Calls that nobody has taken are refused; those that run have been answered before. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const call of this.#waiting.splice(0)) call.answer({ state: 'released', reason: 'the worker stops' });
    this.#server.close();
    this.#server.closeIdleConnections();
    const timer = this.#options.clock.after(CLOSE_MS, () => this.#server.closeAllConnections());
    await once(this.#server, 'close');
    timer.cancel();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const url = new URL(request.url ?? '/', 'http://endpoint');
      if (request.method === 'GET') return this.#tell(url.pathname, response);
      const [, channel] = /^\/execute\/([^/]+)$/.exec(url.pathname) ?? [];
      if (request.method !== 'POST' || channel === undefined) return reply(response, 404, { error: 'There is nothing here' });
      await this.#execute(decodeURIComponent(channel), url, request, response);
    } catch (error) {
      reply(response, error instanceof URIError ? 400 : 500, { error: 'The request cannot be understood' });
    }
  }

  /** As crew's workers tell whoever watches over them. */
  #tell(path: string, response: ServerResponse): void {
    if (path === '/healthcheck') reply(response, 200, { healthy: true });
    else if (path === '/readycheck') reply(response, this.#closed ? 500 : 200, { ready: !this.#closed });
    else reply(response, 404, { error: 'There is nothing here' });
  }

  async #execute(channel: string, url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { token, channels, maxWaiting } = this.#options;
    // A page in a browser may send anything but JSON to this machine without asking; and a name that it made point here is not ours.
    if (!/^application\/json\b/i.test(request.headers['content-type'] ?? ''))
      return reply(response, 415, { error: 'The body must be application/json' });
    if (token === undefined && !LOOPBACK.test((request.headers.host ?? '').replace(/:\d+$/, '')))
      return reply(response, 403, { error: 'Without a token this endpoint is for this machine only' });
    // Who has the token need not be shown in the body: nobody's megabytes are read without one.
    const shown = url.searchParams.get('accessToken') ?? /^Bearer (.*)$/i.exec(request.headers.authorization ?? '')?.[1];
    if (token !== undefined && shown !== undefined && !same(shown, token)) return reply(response, 401, { error: 'Unauthorized' });
    const most = token !== undefined && shown === undefined ? 64 * 1024 : MAX_BODY_BYTES;
    const bytes = Math.min(most, Number(request.headers['content-length'] ?? most) || 0);
    if (!this.#bodies.take(bytes)) return reply(response.setHeader('retry-after', '5'), 503, { error: 'This worker has too much to do' });
    response.once('close', () => this.#bodies.giveBack(bytes));
    const body = await bodyOf(request, most);
    if (body === 'too large') return reply(response, 413, { error: 'The body is too large' });
    if (body instanceof JsonRefused) return reply(response, 400, { error: `The body cannot be used: ${body.message}` });
    if (
      token !== undefined &&
      shown === undefined &&
      !(isFields(body) && typeof body['accessToken'] === 'string' && same(body['accessToken'], token))
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
    const gone = new AbortController();
    const call: Call = {
      channel,
      task,
      signal: gone.signal,
      answer: (outcome) => {
        if (outcome.state === 'released') return reply(response, 503, { error: `Given back: ${outcome.reason}` });
        // A failure is answered with 200 too: of any other status crew reads the error alone.
        return reply(response, 200, releaseOf(outcome, this.#options.clock.wall()));
      },
    };
    response.on('close', () => {
      if (response.writableFinished) return;
      const at = this.#waiting.indexOf(call);
      if (at >= 0) this.#waiting.splice(at, 1);
      gone.abort();
    });
    this.#waiting.push(call);
    this.#options.onCall();
  }
}

function reply(response: ServerResponse, status: number, body: object): void {
  if (response.headersSent || response.destroyed) return;
  const text = JSON.stringify(body);
  // What is left of a body that was not read ends with the connection.
  const close = status >= 400 ? { connection: 'close' } : {};
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text), ...close }).end(text);
}

async function bodyOf(request: IncomingMessage, mostBytes: number): Promise<unknown> {
  try {
    return parseJson(await boundedBytes(request, mostBytes), { maxBytes: mostBytes, exact: true });
  } catch (thrown) {
    if (thrown instanceof TooManyBytes) return 'too large';
    if (!(thrown instanceof JsonRefused)) throw thrown;
    return thrown.reason === 'malformed' ? undefined : thrown;
  }
}

/** In the same time, however much of it is right. */
function same(shown: string, token: string): boolean {
  const hash = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(shown), hash(token));
}
