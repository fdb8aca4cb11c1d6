/** A website of the NAT lab, somewhere on its internet. */
import { serve } from './lab-process.js';
import { Site, type SiteOptions } from './site.js';

let site: Site | undefined;

serve({
  async start(options: SiteOptions): Promise<void> {
    site = await Site.start(options);
  },
  /** Returns the counts and resets them. */
  asked() {
    const asked = site?.asked;
    site?.hits.clear();
    return asked;
  },
  close: () => site?.close(),
});
