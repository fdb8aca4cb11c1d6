import type { IncomingMessage } from 'node:http';
import { addAbortSignal, PassThrough, pipeline, type Readable, Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import { type BaseHttpClient, NonRetryableError, type RedirectHandler, type StreamingHttpResponse } from '@crawlee/cheerio';
import { Deadline } from '../kit/deadline.js';
import type { Fetcher } from './fetch.js';

const MAX_REDIRECTS = 10;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** May be answered differently another time, as a 5xx may; every other 4xx is final. */
const PASSING = new Set([408, 425, 429]);
const DEFAULT_TIMEOUT_MS = 30_000;

type PageRequest = Parameters<BaseHttpClient['stream']>[0];
type PageAnswer = Awaited<ReturnType<BaseHttpClient['sendRequest']>>;

/** Asks for pages on behalf of Crawlee: redirects by hand, so that each address on the way is judged, and bodies within bounds. */
export class PageClient implements BaseHttpClient {
  readonly #fetcher: Fetcher;
  readonly #maxBytes: number;
  readonly #judge: (url: URL) => Promise<void>;

  /** `judge` throws if an address that a redirect leads to must not be asked for. */
  constructor(fetcher: Fetcher, maxBytes: number, judge: (url: URL) => Promise<void>) {
    this.#fetcher = fetcher;
    this.#maxBytes = maxBytes;
    this.#judge = judge;
  }

  sendRequest(): Promise<never> {
    // Part of Crawlee's port; nothing here asks for it.
    return Promise.reject(new Error('only pages are asked for'));
  }

  async stream(request: PageRequest, _onRedirect?: RedirectHandler): Promise<StreamingHttpResponse> {
    const timeoutMs = Number((request.timeout as { readonly request?: number } | undefined)?.request ?? DEFAULT_TIMEOUT_MS);
    // Ends with the body, or with what keeps the page from having one.
    const deadline = new Deadline({ withinMs: timeoutMs });
    try {
      return await this.#ask(request, deadline);
    } catch (thrown) {
      deadline.end();
      throw thrown;
    }
  }

  async #ask(request: PageRequest, deadline: Deadline): Promise<StreamingHttpResponse> {
    const { signal } = deadline;
    const headers = { ...(request.headers as Record<string, string>), 'accept-encoding': 'gzip, deflate, br' };
    const redirectUrls: URL[] = [];
    let url = new URL(request.url);
    for (;;) {
      const answer = await this.#fetcher.call(url, { headers, signal });
      const location = answer.headers.location;
      if (location === undefined || !REDIRECTS.has(answer.statusCode ?? 0)) return this.#answer(answer, url, redirectUrls, deadline);
      answer.destroy();
      url = target(location, url);
      redirectUrls.push(url);
      if (redirectUrls.length > MAX_REDIRECTS) throw new NonRetryableError(`more than ${MAX_REDIRECTS} redirects`);
      await this.#judge(url);
    }
  }

  #answer(answer: IncomingMessage, url: URL, redirectUrls: URL[], deadline: Deadline): StreamingHttpResponse {
    const { statusCode = 0, headers } = answer;
    if (statusCode >= 400) {
      answer.destroy();
      const fault = `the server answered ${statusCode}`;
      throw statusCode >= 500 || PASSING.has(statusCode) ? new Error(fault) : new NonRetryableError(fault);
    }
    const stream = bounded(answer, this.#maxBytes, deadline);
    const progress = { percent: 0, transferred: 0 };
    const facts = { statusCode, headers, trailers: {}, complete: true, url: url.href, redirectUrls, request: { url: url.href } };
    return { ...facts, stream, downloadProgress: progress, uploadProgress: progress } as StreamingHttpResponse & PageAnswer;
  }
}

function target(location: string, from: URL): URL {
  let url: URL;
  try {
    url = new URL(location, from);
  } catch {
    throw new NonRetryableError('it redirects to something that is no address');
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new NonRetryableError(`it redirects to ${url.protocol}, which is not followed`);
  return url;
}

/** The body as it was before compression, which must not be larger than allowed, whatever it was compressed to. */
function bounded(answer: IncomingMessage, maxBytes: number, deadline: Deadline): Readable {
  let bytes = 0;
  const counter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      if (bytes > maxBytes) done(new NonRetryableError(`the page has more than ${maxBytes} bytes`));
      else done(null, chunk);
    },
  });
  const unpack = unpackerOf(answer.headers['content-encoding']);
  // Whatever went wrong, the reader of the body is told.
  const done = () => deadline.end();
  addAbortSignal(deadline.signal, counter);
  if (unpack === undefined) pipeline(answer, counter, done);
  else pipeline(answer, unpack, counter, done);
  return counter;
}

function unpackerOf(encoding: string | undefined): Transform | undefined {
  switch (encoding?.trim().toLowerCase()) {
    case undefined:
    case '':
    case 'identity':
      return undefined;
    case 'gzip':
    case 'x-gzip':
      return createGunzip();
    case 'deflate':
      return createInflate();
    case 'br':
      return createBrotliDecompress();
    default:
      return new PassThrough();
  }
}
