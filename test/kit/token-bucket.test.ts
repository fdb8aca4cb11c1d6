import t from 'tap';
import { TokenBucket } from '../../src/kit/token-bucket.js';

t.test('a burst at once, then as fast as it fills; more than a burst on credit', async (t) => {
  const bucket = new TokenBucket({ burst: 10, perSecond: 2 }, 0);
  t.ok(bucket.take(10, 0));
  t.notOk(bucket.take(1, 0));
  t.notOk(bucket.take(1, 499));
  t.ok(bucket.take(1, 500));
  t.notOk(bucket.take(1, 500));
  t.notOk(bucket.take(1, 0), 'a clock that goes back gives nothing');
  t.ok(bucket.take(10, 1_000_000), 'never more than a burst');
  t.notOk(bucket.take(1, 1_000_000));
  t.ok(bucket.take(30, 1_010_000));
  t.notOk(bucket.take(1, 1_020_000), 'until the credit is paid back');
  t.ok(bucket.take(1, 1_021_000));
});
