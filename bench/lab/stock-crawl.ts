/** A crawl by Crawlee's CheerioCrawler as it comes, with its own storage in memory: `<start address> <pages> <pages at once>`. It reads of a page what the benchmark's crawl does. */
import { CheerioCrawler, Configuration, log } from '@crawlee/cheerio';

const [start = '', pages = '', concurrency = ''] = process.argv.slice(2);
log.setLevel(log.LEVELS.OFF);
const crawler = new CheerioCrawler(
  {
    minConcurrency: Number(concurrency),
    maxConcurrency: Number(concurrency),
    maxRequestsPerCrawl: Number(pages),
    async requestHandler({ $, request, enqueueLinks, pushData }) {
      await enqueueLinks();
      await pushData({ url: request.url, title: $('title').first().text(), heading: $('h1').first().text() });
    },
  },
  new Configuration({ persistStorage: false }),
);
const { requestsFinished } = await crawler.run([start]);
process.exit(requestsFinished === Number(pages) ? 0 : 1);
