import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/clock.js';
import { exposeBreaks, type JoinOptions, joinStreams, resetStream } from '../../src/kit/join-streams.js';
import { ManualClock } from '../swarm/manual-clock.js';

const BODY = Buffer.alloc(5 * 1024 * 1024 + 123, 'x');

/** Opens a real TCP connection and returns both ends. */
async function wire(t: Test): Promise<readonly [Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const one = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  const [other] = (await once(server, 'connection')) as [Socket];
  server.close();
  t.teardown(() => {
    one.destroy();
    other.destroy();
  });
  return [one, other];
}

/** Connects left ↔ a, joined with b ↔ right. */
async function relay(t: Test, options: JoinOptions = {}) {
  const [left, a] = await wire(t);
  const [b, right] = await wire(t);
  right.resume();
  right.pause();
  const joined = joinStreams(a, b, options).then(
    () => 'complete',
    (error: Error & { code?: string }) => error.code ?? error.message,
  );
  return { left, right, joined };
}

/** Resolves with the number of bytes received, and how the stream ended. */
function endOf(socket: Socket, slow = false): Promise<string> {
  return new Promise((resolve) => {
    let bytes = 0;
    exposeBreaks(socket);
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    socket.on('end', () => resolve(`${bytes} bytes`));
    socket.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (!slow) return;
      socket.pause();
      setTimeout(() => socket.resume(), 1);
    });
    socket.resume();
  });
}

const all = `${BODY.length} bytes`;

for (const slow of [false, true]) {
  const reader = slow ? 'a slow reader' : 'a quick reader';
  t.test(`each direction arrives whole and ends by itself, at ${reader}`, async (t) => {
    const { left, right, joined } = await relay(t);
    left.end(BODY);
    t.equal(await endOf(right, slow), all);
    right.end(BODY);
    t.equal(await endOf(left, slow), all);
    t.equal(await joined, 'complete');
  });

  t.test(`both directions at once, ended at once, at ${reader}`, async (t) => {
    const { left, right, joined } = await relay(t);
    left.end(BODY);
    right.end(BODY);
    t.same(await Promise.all([endOf(left, slow), endOf(right, slow), joined]), [all, all, 'complete']);
  });

  t.test(`a reset of either side is a reset of the other, 30 times each, at ${reader}`, async (t) => {
    for (const side of ['left', 'right'] as const) {
      const ends = new Set<string>();
      for (let n = 0; n < 30; n += 1) {
        const { joined, ...both } = await relay(t);
        const [sender, reader] = side === 'left' ? [both.left, both.right] : [both.right, both.left];
        const end = endOf(reader, slow);
        sender.on('error', () => {});
        sender.write(BODY.subarray(0, 200_000), () => setTimeout(() => sender.resetAndDestroy(), 5));
        ends.add(`${await end} ${await joined}`);
      }
      t.same([...ends], ['ECONNRESET ECONNRESET']);
    }
  });
}

t.test('whoever still sends to one that has gone is reset', async (t) => {
  const { left, right, joined } = await relay(t);
  const end = endOf(left);
  right.once('data', () => right.destroy());
  right.resume();
  left.write(BODY);
  t.equal(await end, 'ECONNRESET');
  t.not(await joined, 'complete');
});

t.test('a side that was destroyed here is no end either, nor one that was destroyed before', async (t) => {
  const [left, a] = await wire(t);
  const [b, right] = await wire(t);
  right.resume();
  const ends = [endOf(left), endOf(right)];
  a.destroy();
  await once(a, 'close');
  await t.rejects(joinStreams(a, b), { code: 'connection-broken' });
  t.same(await Promise.all(ends), ['0 bytes', 'ECONNRESET'], 'how the first was ended was not for us to say');
});

t.test('a signal cuts both', async (t) => {
  const controller = new AbortController();
  const { left, right, joined } = await relay(t, { signal: controller.signal });
  const ends = [endOf(left), endOf(right)];
  left.write('x');
  setTimeout(() => controller.abort(new Error('the lease has ended')), 20);
  t.same(await Promise.all([...ends, joined]), ['ECONNRESET', 'ECONNRESET', 'the lease has ended']);
});

t.test('silence is limited where one side has ended, and only there', async (t) => {
  const clock = new ManualClock();
  const { left, right, joined } = await relay(t, { clock, halfOpenIdleMs: 1_000 });
  const heard = endOf(right);
  await clock.pass(10_000_000);
  left.end('question');
  t.equal(await heard, '8 bytes');
  // By then the break has reached the joined stream as well.
  for (let n = 0; n < 5; n += 1) {
    right.write('still at it');
    await once(left, 'data');
    await clock.pass(1_000);
  }
  const end = endOf(left);
  await clock.pass(2_000);
  t.equal(await joined, 'connection-broken');
  t.equal(await end, 'ECONNRESET');
});

t.test('the timer of a pair does not outlive it', async (t) => {
  let timers = 0;
  const clock = {
    now: systemClock.now,
    wall: () => 0,
    after: () => {
      timers += 1;
      return {
        cancel: () => {
          timers -= 1;
        },
      };
    },
  };
  const { left, right, joined } = await relay(t, { clock });
  left.end('a');
  right.end('b');
  await Promise.all([endOf(left), endOf(right), joined]);
  t.equal(timers, 0);
});

t.test('a reset that comes while an end is on its way closes the socket all the same', async (t) => {
  for (let turn = 0; turn < 3; turn += 1) {
    const [left, a] = await wire(t);
    left.on('error', () => {}).resume();
    const closed = once(a, 'close');
    a.end();
    for (let n = 0; n < turn; n += 1) await Promise.resolve();
    if (turn === 2) await new Promise((resolve) => process.nextTick(resolve));
    resetStream(a, new Error('cut'));
    await closed;
  }
});
