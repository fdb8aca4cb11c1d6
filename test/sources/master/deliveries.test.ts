import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock } from '../../../src/clock.js';
import type { Settlement } from '../../../src/job/verbs.js';
import { silentLog } from '../../../src/log.js';
import { Uploads } from '../../../src/master/uploads.js';
import { WorkerSession } from '../../../src/master/worker-session.js';
import { Deliveries } from '../../../src/sources/master/deliveries.js';
import { Outbox } from '../../../src/sources/outbox.js';
import { OutgoingFiles } from '../../../src/sources/outgoing-files.js';
import type { Rpc, RpcHandlers } from '../../../src/swarm/peer.js';
import { openJobService } from '../../lab/job-service.js';
import { until } from '../../lab/until.js';
import { openPair, type Pair } from '../../swarm/pair.js';

const ann = { id: 'ann', name: 'ann' };
const LARGE = 400_000;

interface Bed {
  readonly deliveries: Deliveries;
  readonly outbox: Outbox;
  readonly ledger: Awaited<ReturnType<typeof openJobService>>['ledger'];
  readonly settlements: Settlement[];
  /** Opens another link, with the given bytes per second. */
  connect(bytesPerSecond?: number, change?: (handlers: RpcHandlers) => RpcHandlers): Pair;
}

/** A Worker's outbox and a Master's service. `jobs` jobs are leased to the Worker, which has an outcome of `chars` characters for each. */
async function openBed(t: Test, jobs: number, chars: number): Promise<Bed> {
  const { service, ledger } = await openJobService(t);
  await ledger.add(
    Array.from({ length: jobs }, (_, n) => ({ id: `job-${n}`, data: n })),
    systemClock.now(),
  );
  const leased = await ledger.claim(
    { worker: ann, channels: ['default'], limit: jobs, until: systemClock.now() + 60_000 },
    systemClock.now(),
  );
  const folder = t.testdir();
  const sealing = { key: randomBytes(32), log: silentLog };
  const outbox = await Outbox.open({ ...sealing, folder: join(folder, 'outbox'), clock: systemClock });
  const outgoing = await OutgoingFiles.open({ ...sealing, folder: join(folder, 'outgoing') }, []);
  const deliveries = new Deliveries(outbox, outgoing, systemClock, silentLog);
  const uploads = new Uploads(systemClock);
  const pairs: Pair[] = [];
  t.teardown(async () => {
    for (const { wire } of pairs) wire.a.close();
    await outbox.close();
  });
  return {
    deliveries,
    outbox,
    ledger,
    settlements: leased.map(({ id, lease }) => ({
      id,
      lease,
      outcome: { state: 'completed', output: randomBytes(chars / 2).toString('hex') },
      startedAt: 1,
      finishedAt: 2,
    })),
    connect(bytesPerSecond, change = (handlers) => handlers) {
      const facts = { ...ann, role: 'worker', path: 'direct', connectMs: 1 };
      const session = new WorkerSession({ facts, service, uploads, tasks: {}, dispatch: {}, tunnels: {}, instances: new Map() } as never);
      const pair = openPair(change(session.handlers), {}, bytesPerSecond === undefined ? {} : { bytesPerSecond });
      pairs.push(pair);
      deliveries.connect(pair.worker);
      return pair;
    },
  };
}

const { signal } = new AbortController();

t.test('outcomes of every size arrive, each once', async (t) => {
  const bed = await openBed(t, 6, LARGE);
  bed.connect();
  const small = bed.settlements.slice(0, 3).map((settlement) => ({ ...settlement, outcome: { state: 'completed', output: 7 } as const }));
  for (const settlement of [...small, ...bed.settlements.slice(3)]) void bed.deliveries.deliver(settlement);
  await bed.deliveries.flush(signal);
  for (const { id, outcome } of [...small, ...bed.settlements.slice(3)])
    t.match(await bed.ledger.get(id), { state: 'completed', settled: { output: outcome.state === 'completed' ? outcome.output : 0 } });
});

t.test('after a link was lost only the rest of a large outcome is sent', async (t) => {
  const bed = await openBed(t, 1, LARGE);
  const [settlement] = bed.settlements as [Settlement];
  const first = bed.connect(200_000);
  void bed.deliveries.deliver(settlement);
  await until(() => first.master.traffic.received > LARGE / 2);
  bed.deliveries.disconnect(first.worker);
  first.wire.a.close();
  const received = first.master.traffic.received;
  const second = bed.connect();
  await bed.deliveries.flush(signal);
  t.match(await bed.ledger.get(settlement.id), {
    state: 'completed',
    settled: { output: (settlement.outcome as { output: string }).output },
  });
  t.ok(
    second.master.traffic.received < 1.05 * LARGE - received + 20_000,
    `${received} and then ${second.master.traffic.received} of ${LARGE}`,
  );
});

t.test('what does not count any more is withdrawn in the middle of its way', async (t) => {
  const bed = await openBed(t, 3, LARGE);
  const [first, second, waiting] = bed.settlements as [Settlement, Settlement, Settlement];
  const { master } = bed.connect(100_000);
  for (const settlement of bed.settlements) void bed.deliveries.deliver(settlement);
  await until(() => master.traffic.received > 50_000);
  bed.deliveries.withdraw([first, waiting]);
  await bed.deliveries.flush(signal);
  t.match(await bed.ledger.get(second.id), { state: 'completed' });
  for (const { id } of [first, waiting]) t.match(await bed.ledger.get(id), { state: 'leased' });
  t.ok(master.traffic.received < 2 * LARGE, `${master.traffic.received} bytes for one outcome of ${LARGE} and a part of another`);
});

t.test('the Master refuses what is stale before it is sent', async (t) => {
  const bed = await openBed(t, 1, LARGE);
  const [settlement] = bed.settlements as [Settlement];
  await bed.ledger.cancel([settlement.id], systemClock.now());
  const { master } = bed.connect();
  void bed.deliveries.deliver(settlement);
  await bed.deliveries.flush(signal);
  t.match(await bed.ledger.get(settlement.id), { state: 'cancelled' });
  t.ok(master.traffic.received < 2_000, `${master.traffic.received} bytes`);
});

t.test('a Master that knows no uploads gets messages', async (t) => {
  const bed = await openBed(t, 2, LARGE);
  bed.connect(undefined, ({ calls = {} }) => ({ calls }));
  for (const settlement of bed.settlements) void bed.deliveries.deliver(settlement);
  await bed.deliveries.flush(signal);
  for (const { id } of bed.settlements) t.match(await bed.ledger.get(id), { state: 'completed' });
});

t.test('there is room for more until as much waits as the line carries in ten seconds', async (t) => {
  const bed = await openBed(t, 12, LARGE);
  const line = { bytesPerMs: 200 } as Rpc;
  const idle = {
    ...line,
    call: () => new Promise(() => {}),
    stream: () => ({ [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) }),
  };
  bed.deliveries.connect(idle as never);
  for (const settlement of bed.settlements.slice(0, 4)) void bed.deliveries.deliver(settlement);
  await bed.deliveries.room(signal);
  for (const settlement of bed.settlements.slice(4)) void bed.deliveries.deliver(settlement);
  let hasRoom = false;
  const room = bed.deliveries.room(signal).then(() => {
    hasRoom = true;
  });
  bed.deliveries.withdraw(bed.settlements.slice(0, 6));
  await new Promise(setImmediate);
  t.notOk(hasRoom, '2.4 MB wait, 2 are the limit');
  const stopped = new AbortController();
  const given = bed.deliveries.room(stopped.signal);
  stopped.abort();
  await given;
  bed.deliveries.withdraw(bed.settlements.slice(0, 8));
  await room;
  t.ok(hasRoom);
});

for (const chars of [20, LARGE])
  t.test(`an outcome of ${chars} characters that is not wanted any more: what its run told is`, async (t) => {
    const bed = await openBed(t, 3, chars);
    const logLine = (line: string) => ({ kind: 'log', stream: 'stdout', line }) as const;
    const [cut, uploading, ended] = bed.settlements.map((settlement) => ({
      ...settlement,
      reports: [
        { n: 1, progress: logLine(`first of ${settlement.id}`) },
        { n: 2, progress: logLine('x'.repeat(7_000)) },
        { n: 3, progress: logLine('last') },
      ].slice(0, chars === LARGE ? 3 : 1),
    })) as [Settlement, Settlement, Settlement];
    const words = async ({ id }: Settlement) => (await bed.ledger.history(id, 0, 10)).map(({ body }) => (body as { line: string }).line);
    // It was delivered while there was no link; the greeting reports that its lease is over.
    void bed.deliveries.deliver(cut);
    await bed.ledger.cancel([cut.id], systemClock.now());
    bed.deliveries.withdraw([cut]);
    t.same(bed.deliveries.leased(), [], 'nobody need renew it');
    const first = bed.connect(chars === LARGE ? 100_000 : undefined);
    // Refused by the Master before it was sent.
    await bed.ledger.cancel([ended.id], systemClock.now());
    void bed.deliveries.deliver(ended);
    // In mid-transfer.
    void bed.deliveries.deliver(uploading);
    if (chars === LARGE) {
      await until(() => first.master.traffic.received > 50_000);
      await bed.ledger.cancel([uploading.id], systemClock.now());
      bed.deliveries.withdraw([uploading]);
    }
    await bed.deliveries.flush(signal);
    for (const settlement of [cut, ended, ...(chars === LARGE ? [uploading] : [])]) {
      t.same(
        await words(settlement),
        (settlement.reports ?? []).map(({ progress }) => (progress as { line: string }).line),
        settlement.id,
      );
      t.match(await bed.ledger.get(settlement.id), { state: 'cancelled', settled: { output: undefined } });
    }
    t.equal(bed.outbox.size, 0);
  });

t.test('what a cancelled run had made is taken however large it is, also by a later process', async (t) => {
  const bed = await openBed(t, 2, LARGE);
  const [known, left] = bed.settlements.map((settlement, n) => {
    const output = (settlement.outcome as { output: string }).output;
    return { ...settlement, outcome: { state: 'failed', error: { code: 'cancelled', message: '' }, retry: n === 0, output } as const };
  }) as [Settlement, Settlement];
  await bed.ledger.cancel([known.id, left.id], systemClock.now());
  void bed.deliveries.deliver(known, true);
  void bed.deliveries.deliver(left);
  bed.deliveries.withdraw([left]);
  t.same(bed.deliveries.leased(), []);
  bed.connect();
  await bed.deliveries.flush(signal);
  for (const { id, outcome } of [known, left])
    t.match(await bed.ledger.get(id), { state: 'cancelled', settled: { output: (outcome as { output: string }).output } });
});
