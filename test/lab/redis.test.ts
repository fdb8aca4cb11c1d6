import { Redis } from 'ioredis';
import t from 'tap';
import { LabRedis, requireRedis } from './redis.js';

t.test('a Redis of our own keeps what was written over a kill, and demands its password', async (t) => {
  if (!requireRedis(t)) return;
  const lab = await LabRedis.start({ password: 'se cret/1' });
  t.teardown(() => lab.close());
  const client = new Redis(lab.url, { lazyConnect: true });
  client.on('error', () => {});
  t.teardown(() => client.disconnect());
  await client.set('key', 'kept');
  await lab.stop('kill');
  await lab.startAgain();
  t.equal(await client.get('key'), 'kept');
  const stranger = new Redis(lab.port, '127.0.0.1', { lazyConnect: true });
  stranger.on('error', () => {});
  t.teardown(() => stranger.disconnect());
  await t.rejects(stranger.get('key'), { message: /NOAUTH/ });
});
