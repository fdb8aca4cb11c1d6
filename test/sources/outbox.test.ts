import { randomBytes } from 'node:crypto';
import { appendFileSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { systemClock } from '../../src/clock.js';
import type { Settlement } from '../../src/job/verbs.js';
import { silentLog } from '../../src/log.js';
import { Outbox } from '../../src/sources/outbox.js';

const key = randomBytes(32);

function settlement(id: string, output = 'the secret result'): Settlement {
  return { id, lease: 1, outcome: { state: 'completed', output }, startedAt: 1, finishedAt: 2 };
}

function openOutbox(folder: string, withKey: Uint8Array = key): Promise<Outbox> {
  return Outbox.open({ folder, key: withKey, clock: systemClock, log: silentLog });
}

t.test('what was not acknowledged is there after a restart, what was is not needed', async (t) => {
  const folder = t.testdir();
  const first = await openOutbox(folder);
  await Promise.all([first.put(settlement('a')), first.put(settlement('b'))]);
  first.acknowledge({ id: 'a', lease: 1 });
  t.equal(first.size, 1);
  // No close: the process was killed.
  const second = await openOutbox(folder);
  t.match(
    second.pending().map(({ id }) => id),
    ['a', 'b'],
    'an acknowledged one may come again: the ledger answers that it has it',
  );
  second.acknowledge({ id: 'a', lease: 1 });
  second.acknowledge({ id: 'b', lease: 1 });
  await second.close();
  await first.close();
  const third = await openOutbox(folder);
  t.equal(third.size, 0);
  await third.close();
});

t.test('an outcome that is acknowledged at once never touches the disk', async (t) => {
  const folder = t.testdir();
  const outbox = await openOutbox(folder);
  const safe = outbox.put(settlement('a'));
  outbox.acknowledge({ id: 'a', lease: 1 });
  await safe;
  await outbox.close();
  t.equal(readdirSync(folder).length, 0);
});

t.test('whoever waits for an empty outbox hears of the last acknowledgement, of the close, or has no more time', async (t) => {
  const outbox = await openOutbox(t.testdir());
  const never = new AbortController().signal;
  const heard: string[] = [];
  const wait = (name: string, signal = never) => outbox.emptied(signal).then(() => heard.push(name));
  await wait('empty');
  void outbox.put(settlement('a'));
  void outbox.put(settlement('b'));
  const patience = new AbortController();
  const impatient = wait('no time', patience.signal);
  const patient = wait('acknowledged');
  outbox.acknowledge({ id: 'a', lease: 1 });
  patience.abort();
  await impatient;
  t.same(heard, ['empty', 'no time']);
  outbox.acknowledge({ id: 'b', lease: 1 });
  await patient;
  void outbox.put(settlement('c'));
  const closed = wait('closed');
  await outbox.close();
  await closed;
  t.same(heard, ['empty', 'no time', 'acknowledged', 'closed']);
});

t.test('outcomes are sealed on disk, readable by nobody else, and worthless without the key', async (t) => {
  const folder = t.testdir();
  const outbox = await openOutbox(folder);
  await outbox.put(settlement('a'));
  await outbox.close();
  const [name] = readdirSync(folder);
  const path = join(folder, name ?? '');
  t.notMatch(readFileSync(path, 'latin1'), 'secret result');
  t.equal(statSync(path).mode & 0o077, 0);
  const stranger = await openOutbox(folder, randomBytes(32));
  t.equal(stranger.size, 0);
  await stranger.close();
});

t.test('a record torn by a kill costs only itself', async (t) => {
  const folder = t.testdir();
  const outbox = await openOutbox(folder);
  await outbox.put(settlement('a'));
  await outbox.close();
  const [name] = readdirSync(folder);
  appendFileSync(join(folder, name ?? ''), Buffer.from([0, 0, 1, 0, 7, 7, 7]));
  const again = await openOutbox(folder);
  t.match(again.pending(), [settlement('a')]);
  await again.close();
});

t.test('full segments go when all in them is acknowledged', async (t) => {
  const folder = t.testdir();
  const outbox = await openOutbox(folder);
  const big = 'x'.repeat(1024 * 1024);
  for (const id of ['a', 'b', 'c', 'd', 'e', 'f']) await outbox.put(settlement(id, big));
  t.equal(readdirSync(folder).length, 2);
  for (const id of ['a', 'b', 'c', 'd', 'e']) outbox.acknowledge({ id, lease: 1 });
  await outbox.flush();
  t.ok(readdirSync(folder).length < 3);
  outbox.acknowledge({ id: 'f', lease: 1 });
  await outbox.close();
  const again = await openOutbox(folder);
  t.equal(again.size, 0);
  await again.close();
});
