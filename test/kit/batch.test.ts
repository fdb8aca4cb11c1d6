import t from 'tap';
import { Batch } from '../../src/kit/batch.js';

t.test('a batch tells that items are missing, until it was taken', async (t) => {
  const batch = new Batch(2, 'more');
  t.strictSame(batch.take(), []);
  for (const item of ['a', 'b']) batch.add(item);
  t.strictSame(batch.take(), ['a', 'b']);
  for (const item of ['c', 'd', 'e', 'f']) batch.add(item);
  t.strictSame(batch.take(), ['c', 'd', 'more']);
  batch.add('g');
  t.strictSame(batch.take(), ['g']);
});
