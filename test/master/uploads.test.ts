import { createHash } from 'node:crypto';
import t from 'tap';
import { Uploads } from '../../src/master/uploads.js';
import { ManualClock } from '../swarm/manual-clock.js';

function result(id: string, output: unknown, lease = 1) {
  const settlement = { id, lease, outcome: { state: 'completed', output }, startedAt: 1, finishedAt: 2 };
  const bytes = Buffer.from(JSON.stringify(settlement));
  const wanted = { id, lease, sha256: createHash('sha256').update(bytes).digest('hex'), bytes: bytes.length };
  return { settlement, bytes, wanted };
}

const { signal } = new AbortController();

t.test('an outcome arrives in pieces, over several links', async (t) => {
  const uploads = new Uploads(new ManualClock());
  const { settlement, bytes, wanted } = result('a', 'x'.repeat(1_000));
  const first = await uploads.take('ann', wanted, signal);
  t.equal(first.length, 0);
  first.add(bytes.subarray(0, 300));
  first.release();
  const second = await uploads.take('ann', wanted, signal);
  t.equal(second.length, 300, 'the rest is asked for');
  second.add(bytes.subarray(300, 500));
  const third = await uploads.take('ann', wanted, signal);
  t.throws(() => second.add(bytes.subarray(500, 600)), { code: 'rpc-cancelled' }, 'a newer link has taken it over');
  second.release();
  third.add(bytes.subarray(third.length));
  t.strictSame(third.read(), settlement);
  t.equal((await uploads.take('ben', wanted, signal)).length, 0, 'that of another Worker is another');
  uploads.forget('ann', wanted);
  uploads.forget('ben', wanted);
  t.equal(uploads.bytes, 0);
});

t.test('what is not what it was said to be is refused and forgotten', async (t) => {
  const uploads = new Uploads(new ManualClock());
  const { bytes, wanted } = result('a', 1);
  const longer = await uploads.take('ann', wanted, signal);
  t.throws(() => longer.add(Buffer.concat([bytes, bytes])), { code: 'rpc-invalid' });
  const shorter = await uploads.take('ann', wanted, signal);
  shorter.add(bytes.subarray(1));
  t.throws(() => shorter.read(), { code: 'rpc-invalid' });
  const other = await uploads.take('ann', { ...wanted, lease: 2 }, signal);
  other.add(bytes);
  t.throws(() => other.read(), { code: 'rpc-invalid', message: /another lease/ });
  const text = Buffer.from('{"id":');
  const none = await uploads.take('ann', { ...wanted, bytes: 6, sha256: createHash('sha256').update(text).digest('hex') }, signal);
  none.add(text);
  t.throws(() => none.read(), { code: 'rpc-invalid' });
  t.equal(uploads.bytes, 0);
});

t.test('memory is bounded: what lies idle makes room, who comes late waits', async (t) => {
  const clock = new ManualClock();
  const uploads = new Uploads(clock, 1_000);
  const wanted = (id: string) => ({ id, lease: 1, sha256: '0'.repeat(64), bytes: 600 });
  (await uploads.take('ann', wanted('idle'), signal)).release();
  const busy = await uploads.take('ben', wanted('busy'), signal);
  t.equal(uploads.bytes, 600, 'the idle one is gone');
  let isIn = false;
  const late = uploads.take('cid', wanted('late'), signal).then((part) => {
    isIn = true;
    return part;
  });
  const gone = new AbortController();
  const leaves = uploads.take('dan', wanted('leaves'), gone.signal);
  gone.abort(new Error('gone'));
  await t.rejects(leaves, { message: 'gone' });
  t.notOk(isIn);
  busy.drop();
  (await late).release();
  t.equal(uploads.bytes, 600);
  await clock.pass(10 * 60_000);
  t.equal(uploads.bytes, 0, 'nobody came for it');
});

t.test('a Worker sends few at once', async (t) => {
  const uploads = new Uploads(new ManualClock());
  const wanted = (id: string) => ({ id, lease: 1, sha256: '0'.repeat(64), bytes: 10 });
  for (const id of ['a', 'b', 'c', 'd']) await uploads.take('ann', wanted(id), signal);
  await t.rejects(uploads.take('ann', wanted('e'), signal), { code: 'rpc-overloaded' });
  uploads.close();
  t.equal(uploads.bytes, 0);
});
