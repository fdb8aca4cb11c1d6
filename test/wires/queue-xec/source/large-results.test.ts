import t, { type Test } from 'tap';
import { systemClock } from '../../../../src/clock.js';
import { silentLog } from '../../../../src/log.js';
import type { RoomHandler } from '../../../../src/wires/queue-xec/protocol/calls.js';
import { Room } from '../../../../src/wires/queue-xec/protocol/room.js';
import { parseJson, sha256Of, TransferKey } from '../../../../src/wires/queue-xec/protocol/transfer.js';
import { KEY, TOKEN } from '../../../lab/queue-xec/foreign.js';
import { until } from '../../../lab/until.js';
import { workerOf } from './fixtures.js';

const LARGE = 'module.exports = class { async run(job) { return { of: job.id, text: "x".repeat(300000) }; } };';

/**
 * A Master that forgets each job as it hands it out, and whose end of a connection hangs for good when something large and a reply are in
 * flight together.
 */
async function fragileMaster(t: Test, count: number, hangsAfter: (result: number) => boolean) {
  const key = new TransferKey(KEY);
  let next = 0;
  let sharing = 0;
  let hangs = false;
  const events = { results: new Set<unknown>(), together: 0, lost: 0, links: 0 };
  const never = () => new Promise<never>(() => {});
  const job = () => {
    if (next === count) return null;
    next += 1;
    return JSON.stringify(key.seal(JSON.stringify({ id: next })));
  };
  const serve = new Map<string, RoomHandler>([
    ['isMaster', async () => ({ isMaster: 'yes' })],
    ['ping', async () => (hangs ? never() : { pong: true })],
    [
      'requestExecAssets',
      async () => ({
        status: 'changed',
        files: [{ name: 'task.js', workerPath: '/workplace/task.js', sha256: sha256Of(LARGE), content: key.seal(LARGE) }],
      }),
    ],
    [
      'requestWork',
      async () => {
        const task = job();
        if (sharing > 0) events.together += 1;
        if (!hangs) return { task };
        if (task !== null) events.lost += 1;
        return never();
      },
    ],
    [
      'shareResults',
      async (_from, text) => {
        sharing += 1;
        // Transferring this much takes some time.
        await new Promise((resolve) => setTimeout(resolve, 200));
        sharing -= 1;
        events.results.add((parseJson(key.openText(text) ?? '') as { jobID: unknown }).jobID);
        hangs = hangsAfter(events.results.size);
        return { ok: true };
      },
    ],
  ]);
  const room = new Room({
    ...{ token: TOKEN, serve, clock: systemClock, log: silentLog, listen: { host: '127.0.0.1' }, lsd: false, dht: false },
    onSeen: () => {
      events.links += 1;
      hangs = false;
    },
  });
  await room.start();
  t.teardown(() => room.close());
  return { port: room.port, events };
}

t.test('while a large result is unconfirmed no request for work is open, in which a job could be lost', async (t) => {
  const { port, events } = await fragileMaster(t, 6, () => false);
  workerOf(t, port, { concurrency: 3 });
  await until(() => events.results.size === 6);
  t.match(events, { together: 0, lost: 0 });
});

t.test('a wire that hangs after a large result is found out before a job is asked for over it, and made anew', async (t) => {
  const { port, events } = await fragileMaster(t, 4, (result) => result === 2);
  workerOf(t, port, { concurrency: 1 });
  await until(() => events.results.size === 4);
  t.match(events, { together: 0, lost: 0 });
  t.ok(events.links > 1);
});
