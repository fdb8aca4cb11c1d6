import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface SiteOptions {
  /** Number of pages: `/page/0` and so on link to each other, and no others exist. */
  readonly pages: number;
  readonly host?: string;
  readonly port?: number;
  /** Delay before each response, in milliseconds. */
  readonly delayMs?: number;
  /** Handles a request before anything else; returns true if it did. */
  readonly answer?: (request: IncomingMessage, response: ServerResponse) => boolean;
}

const LINKS = 12;

/** A website of linked pages on this machine, which counts requests per page. */
export class Site {
  /** Number of hits by path. */
  readonly hits = new Map<string, number>();
  /** Instants of the hits on pages. */
  readonly hitAt: number[] = [];
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(options: SiteOptions): Promise<Site> {
    const server = createServer();
    const site = new Site(server);
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      const path = request.url ?? '/';
      site.hits.set(path, (site.hits.get(path) ?? 0) + 1);
      if (options.answer?.(request, response)) return;
      const page = Number(/^\/page\/(\d+)$/.exec(path)?.[1] ?? Number.NaN);
      if (!(page < options.pages)) {
        response.statusCode = 404;
        response.end('not here');
        return;
      }
      site.hitAt.push(Date.now());
      setTimeout(() => {
        response.setHeader('content-type', 'text/html; charset=utf-8');
        response.end(pageText(page, options.pages));
      }, options.delayMs ?? 0);
    });
    await new Promise<void>((resolve) => server.listen(options.port ?? 0, options.host ?? '127.0.0.1', resolve));
    return site;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  url(path: string, host = '127.0.0.1'): string {
    return `http://${host}:${this.port}${path}`;
  }

  /** Number of distinct pages requested, and of requests in total. */
  get asked(): { readonly pages: number; readonly times: number } {
    const counts = [...this.hits].filter(([path]) => path.startsWith('/page/')).map(([, count]) => count);
    return { pages: counts.length, times: counts.reduce((sum, count) => sum + count, 0) };
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** Renders about 4 KB with a dozen links, such that every page is reachable from the first. */
function pageText(page: number, pages: number): string {
  const links = Array.from({ length: LINKS }, (_, at) => (page * LINKS + at + 1) % pages)
    .map((to) => `<li><a href="/page/${to}">Page ${to}</a> and what is said about it in a few words of text</li>`)
    .join('');
  const text = '<p class="text">Some words that a page of this length has, <b>a few of them bold</b>.</p>'.repeat(30);
  return `<!doctype html><html><head><title>Page ${page}</title></head><body><h1>Heading ${page}</h1>${text}<ul>${links}</ul></body></html>`;
}
