import { Redis } from 'ioredis';
import t from 'tap';
import { forListening } from '../../src/kit/redis-retry.js';
import { LabRedis, redisTools } from '../lab/redis.js';
import { requireTools } from '../lab/require.js';

t.test('a connection that is closed while it subscribes again ends without an unhandled rejection', async (t) => {
  if (!requireTools(t, redisTools)) return;
  const lab = await LabRedis.start();
  t.teardown(() => lab.close());
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => unhandled.push(reason);
  process.on('unhandledRejection', note);
  t.teardown(() => process.off('unhandledRejection', note));
  for (let round = 0; round < 3; round += 1) {
    const redis = forListening(new Redis(lab.url, { retryStrategy: () => 20, maxRetriesPerRequest: null }));
    redis.on('error', () => {});
    await redis.subscribe('news');
    await lab.stop('kill');
    const ended = new Promise((resolve) => redis.once('end', resolve));
    redis.once('ready', () => {
      // The subscription is in flight, and nobody awaits its reply any more.
      redis.disconnect();
      redis.stream.destroy();
    });
    await lab.startAgain();
    await ended;
  }
  await new Promise((resolve) => setImmediate(resolve));
  t.same(unhandled, []);
  const closed = forListening(new Redis(lab.url, { lazyConnect: true, enableOfflineQueue: false }));
  await t.rejects(closed.subscribe('news'), 'who asks is told');
  closed.disconnect();
});
