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

t.test('what differs from what was announced is refused and forgotten', async (t) => {
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

t.test('a Worker makes room with its own idle outcomes, then with those of whoever holds more than it', async (t) => {
  const clock = new ManualClock();
  const uploads = new Uploads(clock, 1_000);
  const wanted = (id: string, bytes: number) => ({ id, lease: 1, sha256: '0'.repeat(64), bytes });
  const started = async (workerId: string, id: string, bytes: number) => {
    const part = await uploads.take(workerId, wanted(id, bytes), signal);
    part.add(Buffer.alloc(1));
    return part;
  };
  const lengthOf = async (workerId: string, id: string, bytes: number) => {
    const part = await uploads.take(workerId, wanted(id, bytes), signal);
    const { length } = part;
    part.release();
    return length;
  };
  (await started('ann', 'a', 200)).release();
  (await started('ben', 'b', 300)).release();
  (await started('eve', 'e1', 300)).release();
  (await started('eve', 'e2', 200)).release();
  (await started('eve', 'e3', 500)).release();
  t.equal(uploads.bytes, 1_000, 'her own idle ones made room');
  t.equal(await lengthOf('ann', 'a', 200), 1);
  t.equal(await lengthOf('ben', 'b', 300), 1);

  const busy = await started('eve', 'e3', 500);
  let isIn = false;
  const gone = new AbortController();
  const more = uploads.take('eve', wanted('e4', 100), gone.signal).then(() => {
    isIn = true;
  });
  busy.add(Buffer.alloc(1));
  t.equal(await lengthOf('ann', 'a', 200), 1, 'others keep theirs while she holds more than they');
  t.equal(await lengthOf('ben', 'b', 300), 1);
  t.notOk(isIn);
  gone.abort(new Error('gone'));
  await t.rejects(more, { message: 'gone' });
  busy.release();
  (await started('cid', 'c', 100)).release();
  t.equal(await lengthOf('ann', 'a', 200), 1);
  t.equal(await lengthOf('ben', 'b', 300), 1, 'who holds most makes room');
  t.equal(uploads.bytes, 600);
  uploads.close();
});

t.test('two outcomes that come at once do not share the last room', async (t) => {
  const uploads = new Uploads(new ManualClock(), 1_000);
  const wanted = (id: string) => ({ id, lease: 1, sha256: '0'.repeat(64), bytes: 600 });
  const first = uploads.take('ann', wanted('a'), signal);
  const second = uploads.take('ben', wanted('b'), signal);
  const part = await first;
  t.equal(uploads.bytes, 600);
  part.drop();
  await second;
  t.equal(uploads.bytes, 600);
  uploads.close();
});
