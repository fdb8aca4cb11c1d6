import type { IncomingMessage } from 'node:http';
import { extname } from 'node:path';
import type { Readable, Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import { Deadline } from '../kit/deadline.js';
import type { Fetcher } from './fetch.js';
import { Final } from './page.js';

/** A page as it was received. */
export interface PageAnswer {
  readonly statusCode: number;
  /** Address after redirects. */
  readonly url: string;
  /** Such as `text/html`. */
  readonly type: string;
  readonly text: string;
}

export interface PageClientOptions {
  readonly fetcher: Fetcher;
  /** Sent with every request. */
  readonly headers: Readonly<Record<string, string>>;
  /** Limit of a body after decompression. */
  readonly maxBytes: number;
  /** Limit for the whole page, including redirects and body. */
  readonly timeoutMs: number;
  /** Throws if the target of a redirect must not be requested. */
  readonly checkRedirect: (url: URL) => Promise<void>;
}

const MAX_REDIRECTS = 10;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** Temporary, like 5xx; every other 4xx is final. */
const TEMPORARY = new Set([408, 425, 429]);
const TYPES = new Set(['text/html', 'text/xml', 'application/xhtml+xml', 'application/xml', 'application/json']);
/** For pages without a content type. */
const TYPE_BY_ENDING: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.htm': 'text/html',
  '.shtml': 'text/html',
  '.xhtml': 'application/xhtml+xml',
  '.xml': 'application/xml',
  '.json': 'application/json',
};
const CONTENT_TYPE = /^\s*([\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+)\s*(?:;|$)/;
const CHARSET = /;\s*charset\s*=\s*"?([^\s";]+)/i;

/** Requests pages: follows redirects itself, so that each target is checked, and limits bodies. */
export class PageClient {
  readonly #options: PageClientOptions;
  readonly #headers: Readonly<Record<string, string>>;

  constructor(options: PageClientOptions) {
    this.#options = options;
    this.#headers = { ...options.headers, 'accept-encoding': 'gzip, deflate, br' };
  }

  /** Rejects with Final if a retry would not help. */
  async read(address: string): Promise<PageAnswer> {
    const deadline = new Deadline({ withinMs: this.#options.timeoutMs });
    try {
      return await this.#read(new URL(address), deadline.signal);
    } catch (thrown) {
      if (!deadline.signal.aborted) throw thrown;
      throw new Error(`the page took longer than ${this.#options.timeoutMs / 1_000} s`, { cause: thrown });
    } finally {
      deadline.end();
    }
  }

  async #read(start: URL, signal: AbortSignal): Promise<PageAnswer> {
    let url = start;
    for (let redirects = 0; ; redirects += 1) {
      const answer = await this.#options.fetcher.call(url, { headers: this.#headers, signal });
      const { location } = answer.headers;
      if (location === undefined || !REDIRECTS.has(answer.statusCode ?? 0)) return this.#take(answer, url);
      answer.destroy();
      url = target(location, url);
      if (redirects === MAX_REDIRECTS) throw new Final(`more than ${MAX_REDIRECTS} redirects`);
      await this.#options.checkRedirect(url);
    }
  }

  async #take(answer: IncomingMessage, url: URL): Promise<PageAnswer> {
    const { statusCode = 0, headers } = answer;
    try {
      if (statusCode >= 400) {
        const fault = `the server responded ${statusCode}`;
        throw statusCode >= 500 || TEMPORARY.has(statusCode) ? new Error(fault) : new Final(fault);
      }
      const { type, charset } = typeOf(headers['content-type'], url);
      if (!TYPES.has(type)) throw new Final(`it is ${type}; only ${[...TYPES].join(', ')} are read`);
      const decoder = decoderOf(charset);
      const body = await wholeBody(answer, this.#options.maxBytes);
      return { statusCode, url: url.href, type, text: decoder.decode(body) };
    } catch (thrown) {
      answer.destroy();
      throw thrown;
    }
  }
}

function target(location: string, from: URL): URL {
  let url: URL;
  try {
    url = new URL(location, from);
  } catch {
    throw new Final('it redirects to something that is no address');
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new Final(`it redirects to ${url.protocol}, which is not followed`);
  return url;
}

function typeOf(header: string | undefined, url: URL): { readonly type: string; readonly charset: string } {
  const type = CONTENT_TYPE.exec(header ?? '')?.[1]?.toLowerCase();
  if (type !== undefined) return { type, charset: CHARSET.exec(header ?? '')?.[1] ?? 'utf-8' };
  return { type: TYPE_BY_ENDING[extname(url.pathname).toLowerCase()] ?? 'application/octet-stream', charset: 'utf-8' };
}

const UTF8 = new TextDecoder();

function decoderOf(charset: string): { decode(bytes: Buffer): string } {
  if (/^utf-?8$/i.test(charset)) return UTF8;
  try {
    return new TextDecoder(charset);
  } catch {
    throw new Error(`it is written in ${charset}, which cannot be read`);
  }
}

/**
 * Resolves with the decompressed body. Rejects if it is larger than allowed, or truncated. Collected by hand, because a chain of streams
 * with a signal costs several times as much as the page itself.
 */
function wholeBody(answer: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const unpack = unpackerOf(answer.headers['content-encoding']);
    const chunks: Buffer[] = [];
    let bytes = 0;
    const fail = (error: Error) => {
      answer.destroy();
      unpack?.destroy();
      reject(error);
    };
    const body: Readable = unpack ?? answer;
    body.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > maxBytes) fail(new Final(`the page has more than ${maxBytes} bytes`));
      else chunks.push(chunk);
    });
    body.on('end', () => resolve(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks, bytes)));
    answer.on('error', fail);
    // A response that closes without an end was truncated.
    answer.on('close', () => {
      if (!answer.readableEnded) fail(new Error('the connection was closed before the page was complete'));
    });
    if (unpack !== undefined) answer.pipe(unpack.on('error', fail));
  });
}

function unpackerOf(encoding: string | undefined): Transform | undefined {
  switch (encoding?.trim().toLowerCase()) {
    case 'gzip':
    case 'x-gzip':
      return createGunzip();
    case 'deflate':
      return createInflate();
    case 'br':
      return createBrotliDecompress();
    default:
      return undefined;
  }
}
