import t from 'tap';
import { Channels } from '../../../../src/wires/crew/source/channels.js';

/** Simulates the polling with a virtual clock and instant replies; returns how often each channel was polled. */
function simulate(channels: Channels, ms: number, answer: (name: string, now: number) => number | 'fault') {
  const polls = new Map<string, number>();
  for (let now = 0; now < ms; ) {
    const next = channels.next(now, 4);
    if (next === undefined) {
      now += Math.max(1, channels.waitMs(now));
      continue;
    }
    polls.set(next.name, (polls.get(next.name) ?? 0) + 1);
    const tasks = answer(next.name, now);
    if (tasks === 'fault') channels.onFailure(now);
    else channels.onReply(next.name, next.count, Math.min(tasks, next.count), now);
    if (tasks !== 0 && tasks !== 'fault') now += 100;
  }
  return polls;
}

const half = () => 0.5;
const total = (polls: ReadonlyMap<string, number>) => [...polls.values()].reduce((sum, count) => sum + count, 0);

t.test('an idle hour asks no more often than crew’s own workers: at the start and each interval, for each channel', async (t) => {
  for (const random of [() => 0, half, () => 0.999])
    for (const channels of [1, 20]) {
      const names = Array.from({ length: channels }, (_, at) => `c${at}`);
      const count = total(simulate(new Channels(names, 15_000, random), 3_600_000, () => 0));
      t.ok(count <= channels * (1 + 3_600 / 15), `${count} requests`);
      t.ok(count >= (channels * 3_600) / 15 / 1.15, `${count} requests`);
    }
});

t.test('a channel whose work has just run out is looked at again soon, then ever less often', async (t) => {
  const channels = new Channels(['c'], 15_000, () => 0);
  channels.onReply('c', 1, 1, 0);
  const waits = Array.from({ length: 8 }, (_, at) => {
    channels.onReply('c', 1, 0, at);
    return channels.waitMs(at);
  });
  t.same(waits, [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
});

t.test('a hundred idle channels ask no more than twice a second in all', async (t) => {
  const names = Array.from({ length: 100 }, (_, at) => `c${at}`);
  const polls = simulate(new Channels(names, 15_000, half), 3_600_000, () => 0);
  t.ok(total(polls) <= 2 * 3_600 + 800, `${total(polls)} requests`);
  t.equal(polls.size, 100);
});

t.test('a busy channel does not starve the others, nor do they slow it down', async (t) => {
  const polls = simulate(new Channels(['busy', 'idle', 'other'], 15_000, half), 60_000, (name) =>
    name === 'busy' ? 4 : name === 'other' ? 1 : 0,
  );
  t.ok((polls.get('busy') ?? 0) > 200);
  t.ok((polls.get('other') ?? 0) > 200);
  t.ok((polls.get('idle') ?? 0) < 15);
});

t.test('a server in warning is asked once at a time, ever less often, whatever the number of channels', async (t) => {
  const names = Array.from({ length: 20 }, (_, at) => `c${at}`);
  const count = total(simulate(new Channels(names, 15_000, half), 3_600_000, () => 'fault'));
  t.ok(count <= 70, `${count} requests in an hour`);
});

t.test('what the server asks for in Retry-After is waited for', async (t) => {
  const channels = new Channels(['c'], 15_000, half);
  channels.onFailure(0, 120_000);
  t.equal(channels.next(119_999, 1), undefined);
  t.equal(channels.waitMs(0), 120_000);
  t.match(channels.next(120_000, 1), { name: 'c' });
});

t.test('a channel that is expected to have work is asked at once', async (t) => {
  const channels = new Channels(['c'], 15_000, half);
  channels.onReply('c', 1, 0, 0);
  t.equal(channels.next(0, 1), undefined);
  channels.expect('c', 0);
  channels.expect('unknown', 0);
  t.match(channels.next(0, 1), { name: 'c' });
});
