import robotsParser from 'robots-parser';
import { within } from '../kit/deadline.js';
import type { Fetcher } from './fetch.js';

const MAX_BYTES = 512 * 1024;
const TIMEOUT_MS = 10_000;
const MAX_REDIRECTS = 5;
const MAX_CRAWL_DELAY_MS = 60_000;
/** Limit on cached hosts. */
const MAX_HOSTS = 5_000;

/** The rules in the robots.txt of a host. */
export interface Rules {
  allows(url: string): boolean;
  readonly delayMs: number;
}

const ALLOW_ALL: Rules = { allows: () => true, delayMs: 0 };
const ALLOW_NONE: Rules = { allows: () => false, delayMs: 0 };

/** The rules of each host, fetched once (RFC 9309): none if there is no file, and no page at all if the server fails. */
export class Robots {
  readonly #fetcher: Fetcher;
  readonly #userAgent: string;
  readonly #hosts = new Map<string, Rules | Promise<Rules>>();

  constructor(fetcher: Fetcher, userAgent: string) {
    this.#fetcher = fetcher;
    this.#userAgent = userAgent;
  }

  /** Returns synchronously if they are known. */
  rules(url: URL): Rules | Promise<Rules> {
    const known = this.#hosts.get(url.origin);
    if (known !== undefined) return known;
    if (this.#hosts.size >= MAX_HOSTS) this.#hosts.clear();
    const pending = this.#fetch(new URL('/robots.txt', url)).then((rules) => {
      this.#hosts.set(url.origin, rules);
      return rules;
    });
    this.#hosts.set(url.origin, pending);
    return pending;
  }

  async #fetch(file: URL): Promise<Rules> {
    try {
      const { status, text } = await within({ withinMs: TIMEOUT_MS }, (signal) => this.#read(file, signal));
      if (status >= 500) return ALLOW_NONE;
      if (status !== 200) return ALLOW_ALL;
      const parsed = robotsParser(file.href, text);
      const delayMs = Math.min(MAX_CRAWL_DELAY_MS, Math.max(0, (parsed.getCrawlDelay(this.#userAgent) ?? 0) * 1_000));
      return { allows: (url) => parsed.isAllowed(url, this.#userAgent) !== false, delayMs };
    } catch {
      // Unreachable, or not allowed: the request of the page itself will report it.
      return ALLOW_ALL;
    }
  }

  async #read(file: URL, signal: AbortSignal): Promise<{ readonly status: number; readonly text: string }> {
    let url = file;
    for (let hop = 0; ; hop += 1) {
      const answer = await this.#fetcher.call(url, { headers: { 'user-agent': this.#userAgent, accept: 'text/plain' }, signal });
      const status = answer.statusCode ?? 0;
      const { location } = answer.headers;
      if (status >= 300 && status < 400 && location !== undefined && hop < MAX_REDIRECTS) {
        answer.destroy();
        url = new URL(location, url);
        if (!/^https?:$/.test(url.protocol)) return { status: 404, text: '' };
        continue;
      }
      let text = '';
      // The rest is ignored, as the RFC allows.
      answer.setEncoding('utf8');
      for await (const chunk of answer) {
        text += String(chunk);
        if (text.length > MAX_BYTES) break;
      }
      return { status, text };
    }
  }
}
