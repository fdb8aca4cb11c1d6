import t from 'tap';
import type { Lease } from '../../src/job/source.js';
import { HeldLease } from '../../src/sources/held-lease.js';
import { LeasedSource } from '../../src/sources/leased-source.js';
import { ManualClock, turn } from '../swarm/manual-clock.js';

const never = new AbortController().signal;
const leaseOf = (id: string): Lease =>
  new HeldLease({ job: { id, channel: 'c', data: null, attempt: 1, timeoutMs: 0 }, runner: 'none', startedAt: 0 }, async () => {});

class TestSource extends LeasedSource {
  readonly jobs: Lease[] = [];
  takes = 0;
  ends = 0;
  everyMs = Number.POSITIVE_INFINITY;
  taking: Promise<void> | undefined;

  constructor(clock: ManualClock) {
    super('test', clock);
  }

  async flush(): Promise<void> {}

  protected async take(capacity: number): Promise<Lease[]> {
    this.takes += 1;
    const leases = this.jobs.splice(0, capacity);
    await this.taking;
    return leases;
  }

  protected override idleMs(): number {
    return this.everyMs;
  }

  protected async end(): Promise<void> {
    this.ends += 1;
  }
}

t.test('a claim waits for news, and for its time', async (t) => {
  const clock = new ManualClock();
  const source = new TestSource(clock);
  const claim = source.claim(2, never);
  await clock.pass(1_000_000);
  t.equal(source.takes, 1, 'without news it does not look again');
  source.jobs.push(leaseOf('a'), leaseOf('b'), leaseOf('c'));
  source.wake();
  t.equal((await claim).length, 2);
  t.equal((await source.claim(2, never)).length, 1);
  source.everyMs = 500;
  const timed = source.claim(1, never);
  await turn();
  source.jobs.push(leaseOf('d'));
  await clock.pass(500);
  t.equal((await timed)[0]?.job.id, 'd');
});

t.test('news that come while it takes are not missed', async (t) => {
  const source = new TestSource(new ManualClock());
  let taken: () => void = () => {};
  source.taking = new Promise((resolve) => {
    taken = resolve;
  });
  const claim = source.claim(1, never);
  source.jobs.push(leaseOf('a'));
  source.wake();
  taken();
  t.equal((await claim)[0]?.job.id, 'a');
});

t.test('it ends with its signal and with the source, and what was taken by then is handed over', async (t) => {
  const source = new TestSource(new ManualClock());
  const withdrawn = new AbortController();
  const claim = source.claim(1, withdrawn.signal);
  await turn();
  withdrawn.abort();
  t.same(await claim, []);
  let taken: () => void = () => {};
  source.taking = new Promise((resolve) => {
    taken = resolve;
  });
  source.jobs.push(leaseOf('a'));
  const last = source.claim(1, never);
  await Promise.all([source.close(), source.close()]);
  taken();
  t.equal((await last)[0]?.job.id, 'a');
  t.equal(source.ends, 1);
  t.same(await source.claim(1, never), []);
});
