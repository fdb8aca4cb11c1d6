import { join } from 'node:path';
import t from 'tap';
import { resolveOptions } from '../../../src/cli/options.js';
import { writeCredentials } from '../../../src/wires/dory/source/credentials.js';
import { dory } from '../../../src/wires/dory/wire.js';
import { freePort } from '../../lab/free-port.js';
import { LabRedis, redisTools } from '../../lab/redis.js';
import { requireTools } from '../../lab/require.js';
import { FakeApi } from './source/fake-api.js';

const apiKey = 'dwk_a-key-for-tests';
const options = (env: Record<string, string>) => resolveOptions('worker', { env });

t.test('the source is switched on by an API or by having logged in', async (t) => {
  const before = process.env['HOME'];
  process.env['HOME'] = t.testdir();
  t.teardown(() => {
    process.env['HOME'] = before;
  });
  t.equal(dory.configured(options({})), false);
  t.equal(dory.configured(options({ REDIS_URL: 'redis://localhost' })), false);
  t.equal(dory.configured(options({ API_BASE_URL: 'http://localhost:4500' })), true);
  await t.rejects(Promise.resolve(dory.ready?.(options({ API_BASE_URL: 'http://localhost:4500' }))), { code: 'dory-key-missing' });
  await writeCredentials({ apiBaseUrl: 'http://localhost:4500', apiKey }, join(process.env['HOME'] ?? '', '.dory', 'credentials'));
  t.equal(dory.configured(options({})), true);
  await dory.ready?.(options({}));
});

t.test('the variables of dory-worker are checked when they are read', async (t) => {
  const refused: Record<string, string> = {
    API_BASE_URL: 'localhost:4500',
    REDIS_URL: 'http://localhost',
    CRAWLER_REDIS_URL: 'localhost',
    MAX_CONCURRENT_RUNS: '0',
    CONTAINER_COUNT: '1.5',
    WORKER_ID: 'a b',
    QUEUE_RUN_EXECUTION: 'a:b',
    CONFIG_SOURCE: 'remote',
  };
  for (const [name, value] of Object.entries(refused))
    t.throws(() => options({ [name]: value }), { code: 'option-invalid', message: new RegExp(name) });
});

t.test('health asks the API with the key, and each Redis', async (t) => {
  if (!requireTools(t, redisTools)) return;
  const [api, redis] = [await FakeApi.start(), await LabRedis.start()];
  t.teardown(() => Promise.all([api.close(), redis.close()]));
  const env = { API_BASE_URL: api.url, WORKER_API_KEY: apiKey, REDIS_HOST: '127.0.0.1', REDIS_PORT: String(redis.port) };
  const check = async (more: Record<string, string> = {}) => {
    const found = await dory.check?.(options({ ...env, ...more }), { signal: AbortSignal.timeout(240_000), home: t.testdirName });
    return found?.map(({ name, state }) => `${name}: ${state}`);
  };
  t.same(await check(), ['dory api: ok', 'dory redis: ok']);
  const nowhere = `redis://host.docker.internal:${await freePort()}`;
  t.same(await check({ CRAWLER_REDIS_URL: nowhere, WORKER_API_KEY: 'dwk_revoked' }), [
    'dory api: fail',
    'dory redis: ok',
    'dory crawler redis: fail',
  ]);
  t.same(await check({ CRAWLER_REDIS_URL: `redis://host.docker.internal:${redis.port}` }), [
    'dory api: ok',
    'dory redis: ok',
    'dory crawler redis: ok',
  ]);
});
