import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { MemoryQueue } from '../../../src/crawl/queue/memory-queue.js';
import { requestId } from '../../../src/crawl/request-id.js';

const page = (at: number) => {
  const url = `http://site.test/a/page/of/some/length/${at}`;
  const id = requestId(url);
  return { id, json: JSON.stringify({ id, url, uniqueKey: url, method: 'GET', retryCount: 0, errorMessages: [], userData: { depth: 3 } }) };
};

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
const bytes = async () => {
  // Memory outside of the heap is freed a little later than its owner.
  for (let round = 0; round < 3; round += 1) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};

t.test('of a page that waits little more than its text is kept, of one that is done the bits of its id', async (t) => {
  const count = 50_000;
  const textBytes = page(count).json.length;
  const queue = new MemoryQueue(count);
  const before = await bytes();
  for (let at = 0; at < count; at += 500) await queue.add(Array.from({ length: 500 }, (_, more) => page(at + more)));
  const waiting = ((await bytes()) - before) / count;
  t.ok(waiting < textBytes + 100, `${waiting} bytes for each page of ${textBytes} that waits`);
  for (let left = count; left > 0; ) {
    const { requests } = await queue.claim(500);
    await Promise.all(requests.map(({ id, json }) => queue.handle(id, json, false)));
    left -= requests.length;
  }
  const done = ((await bytes()) - before) / count;
  t.ok(done < 64, `${done} bytes for each page that is done`);
  t.match(await queue.counts(), { total: count, handled: count, failed: 0, pending: 0 });
  t.same(await queue.add([page(0), page(count)]), ['handled', 'full']);
});

t.test('what is given back comes again when it is due, in its new form', async (t) => {
  let now = 1_000;
  const queue = new MemoryQueue(10, () => now);
  await queue.add([page(1), page(2)]);
  const { requests } = await queue.claim(2);
  t.same(requests, [page(1), page(2)]);
  t.ok(await queue.reclaim(page(1).id, '{"retryCount":1}', { delayMs: 50 }));
  t.notOk(await queue.reclaim(page(1).id, '{}', { delayMs: 50 }), 'nobody holds it');
  t.match(await queue.claim(2), { requests: [], pending: 2 });
  now += 50;
  t.same((await queue.claim(2)).requests, [{ id: page(1).id, json: '{"retryCount":1}' }]);
});
