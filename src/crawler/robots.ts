import robotsParser from 'robots-parser';
import { Deadline } from '../kit/deadline.js';
import { systemCode } from '../kit/system-error.js';
import type { Fetcher } from './fetch.js';

const MAX_BYTES = 512 * 1024;
const TIMEOUT_MS = 10_000;
const MAX_REDIRECTS = 5;
const MAX_CRAWL_DELAY_MS = 60_000;
/** Limit on cached hosts. */
const MAX_HOSTS = 5_000;
/** A file that could not be read is not requested again for this long. Shorter than the pause before the first retry of a page. */
const KEEP_FAILURE_MS = 200;

/** The rules in the robots.txt of a host. */
export interface Rules {
  allows(url: string): boolean;
  readonly delayMs: number;
  /** Set if the file could not be read: nothing is allowed then, for now. */
  readonly failure?: { readonly why: string; readonly at: number };
}

const ALLOW_ALL: Rules = { allows: () => true, delayMs: 0 };

/**
 * The rules of each host, fetched once. As RFC 9309 (2.3.1) has it, everything is allowed if there is no such file (4xx), and nothing if
 * the server or the network fails; then the file is requested again when a page of the host is tried again.
 */
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
    return known === undefined || isOldFailure(known) ? this.#request(url) : known;
  }

  /** Like `rules`, but a host that failed before is not requested again: a page may have hundreds of links to such hosts. */
  lastRules(url: URL): Rules | Promise<Rules> {
    return this.#hosts.get(url.origin) ?? this.#request(url);
  }

  #request(url: URL): Promise<Rules> {
    if (this.#hosts.size >= MAX_HOSTS) this.#hosts.clear();
    const pending = this.#fetch(new URL('/robots.txt', url)).then((rules) => {
      this.#hosts.set(url.origin, rules);
      return rules;
    });
    this.#hosts.set(url.origin, pending);
    return pending;
  }

  async #fetch(file: URL): Promise<Rules> {
    const deadline = new Deadline({ withinMs: TIMEOUT_MS });
    try {
      const { status, text } = await this.#read(file, deadline.signal);
      if (status >= 500) return failed(`the server responded ${status}`);
      if (status !== 200) return ALLOW_ALL;
      const parsed = robotsParser(file.href, text);
      const delayMs = Math.min(MAX_CRAWL_DELAY_MS, Math.max(0, (parsed.getCrawlDelay(this.#userAgent) ?? 0) * 1_000));
      return { allows: (url) => parsed.isAllowed(url, this.#userAgent) !== false, delayMs };
    } catch (thrown) {
      if (deadline.signal.aborted) return failed(`it took longer than ${TIMEOUT_MS / 1_000} s`);
      // The error of a host with several addresses has no message.
      return failed((thrown as Error).message || (systemCode(thrown) ?? 'the connection failed'));
    } finally {
      deadline.end();
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
        // A redirect that leads nowhere is as good as no file.
        if (!URL.canParse(location, url.href)) return { status: 404, text: '' };
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

function failed(why: string): Rules {
  return { allows: () => false, delayMs: 0, failure: { why, at: Date.now() } };
}

function isOldFailure(known: Rules | Promise<Rules>): boolean {
  return !(known instanceof Promise) && known.failure !== undefined && Date.now() - known.failure.at >= KEEP_FAILURE_MS;
}
