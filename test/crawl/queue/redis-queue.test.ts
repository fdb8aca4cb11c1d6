import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { queueKeys, wakeChannel } from '../../../src/crawl/queue/keys.js';
import { RedisQueue } from '../../../src/crawl/queue/redis-queue.js';
import { ALLOWANCE } from '../../../src/crawl/queue/scripts.js';
import { requestId } from '../../../src/crawl/request-id.js';
import { LabRedis, redisTools } from '../../lab/redis.js';
import { requireTools } from '../../lab/require.js';
import { until } from '../../lab/until.js';

if (requireTools(t, redisTools)) {
  const server = await LabRedis.start();
  const redis = server.connect();
  t.teardown(async () => {
    redis.disconnect();
    await server.close();
  });
  let queues = 0;
  const newQueue = () => `q${++queues}`;
  const client = (queue: string, name: string, options: { lockMs?: number; balance?: boolean; maxRequests?: number } = {}) =>
    new RedisQueue({ redis, queue, client: name, balance: false, ...options });
  const pages = (count: number, from = 0) =>
    Array.from({ length: count }, (_, at) => {
      const url = `http://site.test/page/${from + at}`;
      return { id: requestId(url), json: JSON.stringify({ url }) };
    });
  const ids = (claimed: { readonly requests: readonly { readonly id: string }[] }) => claimed.requests.map(({ id }) => id);

  t.test('a page that is added three times is there once', async (t) => {
    const queue = newQueue();
    const one = client(queue, 'one');
    const [page] = pages(1);
    if (page === undefined) return;
    await one.join();
    t.same(await one.add([page, page, page]), ['added', 'present', 'present']);
    t.same(ids(await one.claim(10)), [page.id]);
    await one.handle(page.id, page.json, false);
    t.same(await one.add([page]), ['handled']);
    t.same(await redis.hkeys(`rq:${queue}:requests`), [page.id]);
    t.same(await redis.smembers(`rq:${queue}:handled`), [page.id]);
    t.equal(await redis.zcard(`rq:${queue}:ordering`), 0);
    t.match(await redis.hgetall(`rq:${queue}:meta`), {
      id: queue,
      totalRequestCount: '1',
      handledRequestCount: '1',
      pendingRequestCount: '0',
    });
  });

  t.test('those that go first do, the newest of them foremost; then the oldest', async (t) => {
    const one = client(newQueue(), 'one');
    const all = pages(4);
    await one.add(all.slice(0, 2));
    await one.add(all.slice(2, 3), true);
    await one.add(all.slice(3), true);
    t.same(
      ids(await one.claim(10)),
      [3, 2, 0, 1].map((at) => all[at]?.id),
    );
  });

  t.test('there is never more in the queue than it may hold', async (t) => {
    const one = client(newQueue(), 'one', { maxRequests: 3 });
    t.same(await one.add(pages(5)), ['added', 'added', 'added', 'full', 'full']);
    t.equal((await one.counts()).total, 3);
  });

  t.test('what is locked is nobody else’s until the lock ends', async (t) => {
    const queue = newQueue();
    const [one, two] = [client(queue, 'one', { lockMs: 200 }), client(queue, 'two', { lockMs: 60_000 })];
    await one.add(pages(1));
    const [id = ''] = ids(await one.claim(1));
    t.same(ids(await two.claim(1)), []);
    t.equal((await two.claim(1)).pending, 1, 'it counts as not handled');
    let taken = await two.claim(1);
    for (; taken.requests.length === 0; taken = await two.claim(1)) await sleep(20);
    t.same(ids(taken), [id], 'taken over');
    t.same(await one.prolong([id]), [id], 'the first one can no longer prolong it');
    t.equal(await one.reclaim(id), false, 'nor give it back');
    t.same(await two.prolong([id]), []);
    t.same(ids(await one.claim(1)), []);
    t.equal(await two.reclaim(id, '{"retryCount":1}'), true);
    const [again] = (await one.claim(1)).requests;
    t.equal(again?.json, '{"retryCount":1}', 'given back in its new form');
  });

  t.test('a page that is given back for later is claimed later', async (t) => {
    const one = client(newQueue(), 'one');
    await one.add(pages(1));
    const [id = ''] = ids(await one.claim(1));
    await one.reclaim(id, '', { delayMs: 300 });
    const early = await one.claim(1);
    t.same([early.requests.length, early.pending], [0, 1]);
    let late = await one.claim(1);
    for (; late.requests.length === 0; late = await one.claim(1)) await sleep(20);
    t.same(ids(late), [id]);
  });

  t.test('what a dead client held is free at once', async (t) => {
    const queue = newQueue();
    const [dead, alive] = [client(queue, 'dead', { lockMs: 600_000 }), client(queue, 'alive', { lockMs: 600_000 })];
    await dead.add(pages(10));
    const held = ids(await dead.claim(6));
    const own = ids(await alive.claim(2));
    await dead.handle(held[0] ?? '', '{}', false);
    t.equal(await alive.release('dead'), 5);
    t.same(
      ids(await alive.claim(100)).sort(),
      pages(10)
        .map(({ id }) => id)
        .filter((id) => !own.includes(id) && id !== held[0])
        .sort(),
    );
  });

  t.test('no client gets far ahead of one that asks for work too', async (t) => {
    const queue = newQueue();
    const [one, two] = [client(queue, 'one', { balance: true }), client(queue, 'two', { balance: true })];
    await one.join();
    await two.join();
    await one.add(pages(50));
    t.equal((await one.claim(25)).requests.length, 4);
    t.equal((await one.claim(25)).requests.length, 0);
    t.equal((await two.claim(25)).requests.length, 8);
    t.equal((await one.claim(25)).requests.length, 8);
  });

  t.test('where there is plenty nobody waits for a slow one, and the last pages are shared', async (t) => {
    const queue = newQueue();
    const [one, two] = [client(queue, 'one', { balance: true }), client(queue, 'two', { balance: true })];
    await one.join();
    await two.join();
    await one.add(pages(500));
    for (let left = 500; left > 60; left -= 20) {
      await two.join();
      t.equal((await one.claim(20)).requests.length, 20, `of ${left}`);
    }
    await two.join();
    t.equal((await one.claim(40)).requests.length, 30);
    t.equal((await two.claim(40)).requests.length, 15);
  });

  t.test('what one client may have: bounded where work is scarce, and nowhere else', async (t) => {
    const lua = `${ALLOWANCE} return allowance(unpack(cjson.decode(ARGV[1])))`;
    const allowance = (limit: number, ahead: number, ready: number, total: number, clients: number, mine: number, low?: number) =>
      redis.eval(lua, 0, JSON.stringify([limit, ahead, ready, total, clients, mine, ...(low === undefined ? [] : [low])]));
    t.equal(await allowance(10, 10, 0, 0, 1, 500), 20, 'alone: whatever it would take');
    t.equal(await allowance(10, 10, 5_000, 10_000, 3, 4_000, 1), 20, 'plenty: however far ahead of the others');
    t.equal(await allowance(0, 10, 5_000, 10_000, 3, 4_000, 1), 10, 'and ahead of what it can run');
    t.equal(await allowance(10, 10, 30, 10_000, 3, 4_000, 4_000), 10, 'the last pages: its share of what nobody has');
    t.equal(await allowance(10, 10, 0, 10_000, 3, 4_000, 4_000), 1);
    t.equal(await allowance(10, 10, 200, 300, 3, 20, 20), 10, 'scarce: nothing ahead of what it can run');
    t.equal(await allowance(0, 10, 200, 300, 3, 20, 20), 0);
    t.equal(await allowance(10, 10, 40, 50, 3, 12, 10), 2, 'scarce: no further than 8 % of all pages ahead of the slowest');
    t.equal(await allowance(10, 10, 40, 50, 3, 14, 10), 0);
    t.equal(await allowance(10, 10, 40, 50, 3, 2, 10), 10, 'who is behind catches up');
    t.equal(await allowance(10, 10, 5, 10, 3, 3, 3), 1, 'by one at least');
  });

  t.test('a client that had to do with fewer pages than it could run hears of new ones, the others do not', async (t) => {
    const queue = newQueue();
    const one = client(queue, 'one');
    const ears = server.connect();
    t.teardown(() => ears.disconnect());
    let wakes = 0;
    ears.on('message', () => {
      wakes += 1;
    });
    await ears.subscribe(wakeChannel(queue));
    await one.join();
    await one.add(pages(10));
    await one.claim(5);
    await one.add(pages(1, 10));
    await one.claim(10);
    await one.add(pages(1, 11));
    await until(() => wakes > 0);
    await one.add(pages(1, 12));
    await one.release('one');
    await until(() => wakes >= 2);
    t.equal(wakes, 2, 'once for the hungry one, and once for what was released');
  });

  t.test('a client that is silent holds nobody up', async (t) => {
    const queue = newQueue();
    const [one, two] = [client(queue, 'one', { balance: true }), client(queue, 'two', { balance: true })];
    await two.join();
    await one.add(pages(50));
    t.equal((await one.claim(50)).requests.length, 4);
    let more = await one.claim(50);
    for (; more.requests.length === 0; more = await one.claim(50)) await sleep(50);
    t.equal(more.requests.length, 46);
  });

  t.test('each host is asked no more often than it likes', async (t) => {
    const queue = newQueue();
    const [one, two] = [client(queue, 'one'), client(queue, 'two')];
    t.equal(await one.slot('a.test', 10_000), 0);
    const waitMs = await two.slot('a.test', 10_000);
    t.ok(waitMs > 5_000 && waitMs <= 10_000, 'the second one waits');
    t.ok((await one.slot('a.test', 10_000)) > waitMs, 'the third one longer');
    t.equal(await two.slot('b.test', 10_000), 0);
  });

  t.test('a queue that Redis has lost is noticed', async (t) => {
    const queue = newQueue();
    const one = client(queue, 'one');
    await one.join();
    t.equal((await one.claim(1)).known, true);
    await redis.flushall();
    await redis.script('FLUSH');
    t.equal((await one.claim(1)).known, false);
  });

  t.test('all keys go in the end', async (t) => {
    const queue = newQueue();
    const one = client(queue, 'one');
    await one.join();
    await one.add(pages(2));
    const [id = ''] = ids(await one.claim(2));
    await one.handle(id, '{}', false);
    await one.slot('a.test', 1);
    await one.keep([{ id, failed: false, json: '{}' }]);
    await one.expire(86_400_000);
    for (const key of queueKeys(queue)) {
      const ttl = await redis.pttl(key);
      t.ok(ttl > 86_000_000 && ttl <= 86_400_000, key);
    }
    await one.remove();
    t.equal(await redis.exists(...queueKeys(queue)), 0, 'or at once');
  });

  t.test('results are kept, one a page: a page that was read is not replaced by one that failed', async (t) => {
    const queue = newQueue();
    const one = client(queue, 'one');
    await one.keep(Array.from({ length: 500 }, (_, n) => ({ id: `p${n}`, failed: false, json: JSON.stringify({ n }) })));
    await one.keep([
      { id: 'p1', failed: true, json: '{"error":1}' },
      { id: 'q', failed: true, json: '{"error":1}' },
      { id: 'q', failed: false, json: '"read"' },
      { id: 'large', failed: false, json: JSON.stringify('x'.repeat(2_000)) },
    ]);
    const found = new Map<string, string>();
    for await (const { id, json } of client(queue, 'two').results(1_000)) found.set(id, json);
    t.equal(found.size, 502);
    t.match([found.get('p1'), found.get('q'), found.get('large')], ['{"n":1}', '"read"', '']);
    const sum = [...found.values()].reduce((bytes, json) => bytes + json.length, 2_002);
    t.equal((await one.counts()).resultBytes, sum);
  });

  t.test('it is remembered that some pages had no room', async (t) => {
    const queue = newQueue();
    const small = new RedisQueue({ redis, queue, client: 'one', maxRequests: 2 });
    await small.add(pages(2));
    t.equal((await small.counts()).full, false);
    await small.add(pages(3));
    t.equal((await client(queue, 'two').counts()).full, true);
  });

  t.test('a client that goes on after one of its name died is not behind the others', async (t) => {
    const queue = newQueue();
    const [one, two] = [client(queue, 'one'), client(queue, 'two')];
    await one.join();
    await one.add(pages(100));
    t.equal((await one.claim(50)).requests.length, 50);
    t.equal(await one.release('one'), 50);
    await one.join();
    await two.join();
    t.ok((await one.claim(8)).requests.length > 0);
  });

  t.test('8 clients at once: every page is claimed by one of them', async (t) => {
    const queue = newQueue();
    const PAGES = 4_000;
    const connections = Array.from({ length: 8 }, () => server.connect());
    const claimed = new Map<string, number>();
    const added = connections.map((connection, at) =>
      new RedisQueue({ redis: connection, queue, client: `c${at}` }).add(pages(PAGES / 4, (PAGES / 8) * at)),
    );
    t.equal((await Promise.all(added)).flat().filter((answer) => answer === 'added').length, (PAGES / 8) * 9, 'overlapping seeds');
    await Promise.all(
      connections.map(async (connection, at) => {
        const own = new RedisQueue({ redis: connection, queue, client: `c${at}` });
        await own.join();
        for (let pending = 1; pending > 0; ) {
          const { requests, pending: left } = await own.claim(25);
          pending = left;
          for (const { id, json } of requests) {
            claimed.set(id, (claimed.get(id) ?? 0) + 1);
            pending = await own.handle(id, json, false);
          }
        }
      }),
    );
    for (const connection of connections) connection.disconnect();
    t.equal(claimed.size, (PAGES / 8) * 9);
    t.equal([...claimed.values()].filter((times) => times !== 1).length, 0, 'none twice');
    const { handled, pending, byClient } = await client(queue, 'x').counts();
    t.same([handled, pending], [(PAGES / 8) * 9, 0]);
    t.equal(
      [...byClient.values()].reduce((sum, count) => sum + count, 0),
      (PAGES / 8) * 9,
    );
  });
}
