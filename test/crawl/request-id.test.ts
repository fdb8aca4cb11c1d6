import { getRequestId, Request } from '@crawlee/cheerio';
import t from 'tap';
import { requestId, uniqueKeyOf } from '../../src/crawl/request-id.js';

const addresses = [
  'http://site.test',
  'http://SITE.test/',
  'https://site.test/a/b/',
  'https://site.test:8443/a?b=1&a=2',
  'https://site.test/a?',
  'https://site.test/a?utm_source=x&z=1&utm_medium=y#top',
  'https://site.test/ä/%20?q=ö&q=b+c',
  'https://site.test/#part',
];

t.test('two addresses are one page exactly if they are for Crawlee', async (t) => {
  for (const address of addresses) t.equal(uniqueKeyOf(address), new Request({ url: address }).uniqueKey, address);
});

t.test('ids are those of Crawlee: 15 characters of base64', async (t) => {
  for (const address of addresses) t.equal(requestId(uniqueKeyOf(address)), getRequestId(uniqueKeyOf(address)));
});
