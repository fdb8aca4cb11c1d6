/** A website in a process of its own, so that it does not share one with what asks for its pages. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Site } from '../../test/lab/site.js';
import { serve } from './child.js';

let site: Site | undefined;

function takePost(request: IncomingMessage, response: ServerResponse): boolean {
  if (request.method !== 'POST') return false;
  request.on('end', () => response.end('{}')).resume();
  return true;
}

export const siteVerbs = {
  /** Each answer after `delayMs`. It takes results too, as an API does, and drops them. */
  async open({ pages, port = 0, delayMs = 0 }: { readonly pages: number; readonly port?: number; readonly delayMs?: number }) {
    await site?.close();
    site = await Site.start({ pages, port, delayMs, answer: takePost });
    return { port: site.port };
  },
  /** Since it was opened: different pages, requests for pages, and milliseconds from the first to the last. */
  async asked() {
    const { pages = 0, times = 0 } = site?.asked ?? {};
    const { hitAt = [] } = site ?? {};
    return { pages, times, spanMs: (hitAt.at(-1) ?? 0) - (hitAt[0] ?? 0) };
  },
};

export type SiteVerbs = typeof siteVerbs;

serve(siteVerbs, async () => site?.close());
