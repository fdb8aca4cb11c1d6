import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Settlement } from '../../src/job/verbs.js';
import { silentLog } from '../../src/log.js';
import { Outbox } from '../../src/sources/outbox.js';
import { OutcomeSender, type OutcomeSenderOptions, type SendAnswer } from '../../src/sources/outcome-sender.js';
import { temporaryFolder } from '../lab/open-source.js';
import { ManualClock } from '../swarm/manual-clock.js';

const never = new AbortController().signal;
const settlement = (id: string): Settlement => ({
  ...{ id, lease: 1, startedAt: 0, finishedAt: 1 },
  outcome: { state: 'completed', output: id },
});

/** A sender whose server is controlled by the test: `answers` determines the result of each send. */
async function setUp(
  t: Test,
  answers: (id: string, times: number) => Promise<SendAnswer> | undefined,
  options: Partial<OutcomeSenderOptions> = {},
) {
  const clock = new ManualClock();
  const folder = temporaryFolder(t, 'outbox');
  const open = async () => {
    const outbox = await Outbox.open({ folder: join(folder), key: new Uint8Array(32), clock, log: silentLog });
    t.teardown(() => outbox.close());
    return outbox;
  };
  const outbox = await open();
  const sent: [id: string, atMs: number][] = [];
  const ends: [id: string, answer: SendAnswer][] = [];
  const startedAt = clock.now();
  const senderOf = (of: Outbox) =>
    new OutcomeSender({
      ...{ outbox: of, clock, random: () => 0.5, firstMs: 1_000, capMs: 4_000 },
      send: ({ id }) => {
        const answer = answers(id, sent.filter(([other]) => other === id).length);
        if (answer !== undefined) sent.push([id, clock.now() - startedAt]);
        return answer;
      },
      onEnd: ({ id }, answer) => ends.push([id, answer]),
      ...options,
    });
  return { clock, outbox, open, sender: senderOf(outbox), senderOf, sent, ends };
}

t.test('an outcome is sent again, later each time, until the server has it; others do not wait for it', async (t) => {
  const { clock, outbox, sender, sent, ends } = await setUp(t, async (id, times) => {
    if (id === 'a' && times < 4) throw new Error('away');
    return 'accepted' as const;
  });
  void sender.deliver(settlement('a'));
  await clock.pass(0);
  void sender.deliver(settlement('b'));
  await clock.pass(20_000);
  t.same(
    sent.filter(([id]) => id === 'a').map(([, at]) => at),
    [0, 1_000, 3_000, 7_000, 11_000],
  );
  t.same(ends, [
    ['b', 'accepted'],
    ['a', 'accepted'],
  ]);
  t.equal(outbox.size, 0);
});

t.test('a stale one is over, and a fault may say how long to wait at least', async (t) => {
  const { clock, outbox, sender, sent, ends } = await setUp(
    t,
    async (_, times) => {
      if (times === 0) throw new Error('busy');
      return 'stale' as const;
    },
    { onFault: () => 9_000 },
  );
  void sender.deliver(settlement('a'));
  await clock.pass(0);
  await clock.pass(20_000);
  t.same(
    sent.map(([, at]) => at),
    [0, 9_000],
  );
  t.same(ends, [['a', 'stale']]);
  t.equal(outbox.size, 0);
});

t.test('while nothing can be sent all wait in their order, without a try', async (t) => {
  let up = false;
  const { clock, sender, sent } = await setUp(t, () => (up ? Promise.resolve('accepted') : undefined));
  for (const id of ['a', 'b', 'c']) void sender.deliver(settlement(id));
  await clock.pass(60_000);
  t.same(sent, []);
  up = true;
  sender.wake();
  await sender.flush(never);
  t.same(
    sent.map(([id]) => id),
    ['a', 'b', 'c'],
  );
});

t.test('a held one goes when its time is over, when it is asked for, or when somebody is in a hurry', async (t) => {
  const { clock, sender, sent } = await setUp(t, async () => 'accepted' as const);
  const [a, b, c] = [settlement('a'), settlement('b'), settlement('c')];
  void sender.deliver(a, 5_000);
  void sender.deliver(b, 50_000);
  void sender.deliver(c, 500_000);
  sender.sendAll();
  await clock.pass(5_000);
  t.same(sent, [['a', 5_000]], 'what is held is held, whoever wakes the others');
  t.same(sender.held(), [b, c]);
  sender.sendHeld(b);
  await clock.pass(0);
  t.same(sent.at(-1), ['b', 5_000]);
  const flushed = sender.flush(never);
  await clock.pass(0);
  await flushed;
  void sender.deliver(settlement('d'), 500_000);
  await clock.pass(0);
  t.same(
    sent.slice(2).map(([id]) => id),
    ['c', 'd'],
    'nothing is held any more',
  );
});

t.test('what an earlier process has left is sent by the next, and closing waits no longer than it may', async (t) => {
  let up = false;
  const { clock, outbox, open, sender, senderOf, sent } = await setUp(t, async () => {
    if (!up) throw new Error('away');
    return 'accepted' as const;
  });
  void sender.deliver(settlement('a'));
  await clock.pass(0);
  let closed = false;
  const closing = sender.close(2_000).then(() => {
    closed = true;
  });
  await clock.pass(1_999);
  t.notOk(closed);
  await clock.pass(1);
  await closing;
  const before = sent.length;
  await clock.pass(60_000);
  t.equal(sent.length, before, 'a closed one sends nothing');
  await outbox.close();

  up = true;
  const kept = await open();
  t.equal(kept.size, 1);
  const next = senderOf(kept);
  next.sendAll();
  next.sendAll();
  await next.flush(never);
  t.equal(sent.length, before + 1, 'once, however often it is told to');
});
