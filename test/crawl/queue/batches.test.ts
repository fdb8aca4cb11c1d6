import t from 'tap';
import { Batches } from '../../../src/crawl/queue/batches.js';

/** Returns how many of these items are sent with each batch. */
async function sizesOf(items: readonly string[]): Promise<readonly number[]> {
  const sizes: number[] = [];
  const batches = new Batches<{ readonly json: string }, string>(async (batch) => {
    sizes.push(batch.length);
    return batch.map(({ json }) => json);
  });
  t.same(await Promise.all(items.map((json) => batches.add({ json }))), items, 'each gets its own result');
  return sizes;
}

t.test('a batch has at most 100 items, and at most 1 MiB of UTF-8 unless it is a single one', async (t) => {
  t.same(await sizesOf(Array.from({ length: 250 }, (_, at) => `${at}`)), [100, 100, 50]);
  t.same(await sizesOf(Array.from({ length: 3 }, () => 'e'.repeat(500_000))), [2, 1]);
  t.same(await sizesOf(Array.from({ length: 3 }, () => '€'.repeat(300_000))), [1, 1, 1], 'three bytes each, one UTF-16 unit');
  t.same(await sizesOf(['e'.repeat(2_000_000), 'e']), [1, 1]);
});
