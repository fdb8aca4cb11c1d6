/** A website in a process of its own, so that it does not share one with what asks for its pages. */
import { Site } from '../../test/lab/site.js';
import { serve } from './child.js';

let site: Site | undefined;

export const siteVerbs = {
  async open({ pages, port = 0 }: { readonly pages: number; readonly port?: number }) {
    await site?.close();
    site = await Site.start({ pages, port });
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
