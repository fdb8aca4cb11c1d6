import { join } from 'node:path';
import { Logger, makeWorkerUtils, run as runGraphile } from 'graphile-worker';
import PgBoss from 'pg-boss';
import type { Ledger } from '../src/ledger/ledger.js';
import { openLedger } from '../src/ledger/open.js';
import { LabPostgres } from '../test/lab/postgres.js';
import type { BullProducer } from './lab/bullmq-producer.js';
import type { BullWorker } from './lab/bullmq-worker.js';
import type { Lab } from './lab/lab.js';
import { startRedis } from './lab/redis.js';
import { type Benchmark, median, type Row } from './lab/report.js';

const ROUNDS = 3;
const BATCH = 32;
const FILE_JOBS = 8_000;
const BULLMQ_CONCURRENCY = 50;
const CLAIMERS = 8;
const POSTGRES_JOBS = 4_000;
const data = { text: 'x'.repeat(100) };

/**
 * The ledger as a queue beside the queues people know: jobs that are there already are claimed and settled. On a file with synchronous=FULL beside BullMQ on
 * Redis; on one Postgres, with fsync, beside graphile-worker and pg-boss, eight claimers each. In turns, no-op jobs.
 */
export const ledgerQueues: Benchmark = {
  name: 'ledger-queues',
  async run(lab) {
    return [await besideBullMQ(lab), ...(await besidePostgresQueues(lab))];
  },
};

/** Claims and settles until nothing is left; answers jobs a second. */
async function drain(ledger: Ledger, jobs: number, claimers: number): Promise<number> {
  const startedAt = performance.now();
  const claimer = async (index: number) => {
    const worker = { id: `bench-${index}`, name: 'bench' };
    for (;;) {
      const now = Date.now();
      const leased = await ledger.claim({ worker, channels: ['default'], limit: BATCH, until: now + 30_000 }, now);
      if (leased.length === 0) return;
      const outcome = { state: 'completed', output: null } as const;
      await ledger.settle(
        worker,
        leased.map(({ id, lease }) => ({ id, lease, outcome, startedAt: now, finishedAt: now })),
        now,
      );
    }
  };
  await Promise.all(Array.from({ length: claimers }, (_, index) => claimer(index)));
  return jobs / ((performance.now() - startedAt) / 1_000);
}

async function besideBullMQ(lab: Lab): Promise<Row> {
  const port = await startRedis(lab);
  const producer = lab.start<BullProducer>('bullmq-producer');
  const worker = lab.start<BullWorker>('bullmq-worker');
  await producer.ask('open', { port });
  await worker.ask('open', { port, concurrency: BULLMQ_CONCURRENCY });
  const ledger = await openLedger(`sqlite:${join(lab.folder, 'queues.db')}`);
  lab.onClose(() => ledger.close());
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    await ledger.add(Array(FILE_JOBS).fill({ data }), Date.now());
    ours.push(await drain(ledger, FILE_JOBS, 1));
    theirs.push(FILE_JOBS / ((await producer.ask('run', { jobs: FILE_JOBS, filled: true })) / 1_000));
  }
  return row(
    `claim + settle by ${BATCH}, a file with synchronous=FULL`,
    ours,
    `BullMQ 6 on Redis, concurrency ${BULLMQ_CONCURRENCY}`,
    theirs,
    2,
  );
}

async function besidePostgresQueues(lab: Lab): Promise<Row[]> {
  const postgres = await LabPostgres.start({ durable: true });
  lab.onClose(() => postgres.close());
  const ledgers = await ledgersOn(await postgres.createDatabase(), 2);
  lab.onClose(async () => void (await Promise.all(ledgers.map((ledger) => ledger.close()))));
  const [first] = ledgers;
  if (first === undefined) throw new Error('no ledger');
  const graphile = await postgres.createDatabase();
  const boss = new PgBoss({ connectionString: await postgres.createDatabase(), max: CLAIMERS });
  await boss.start();
  await boss.createQueue('bench');
  lab.onClose(() => boss.stop({ graceful: false, wait: true }));
  const ours: number[] = [];
  const graphiles: number[] = [];
  const bosses: number[] = [];
  const singles: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    await first.add(Array(POSTGRES_JOBS).fill({ data }), Date.now());
    ours.push(
      (await Promise.all(ledgers.map((ledger) => drain(ledger, POSTGRES_JOBS, CLAIMERS / ledgers.length)))).reduce((a, b) =>
        Math.min(a, b),
      ),
    );
    graphiles.push(await graphileRate(graphile));
    bosses.push(await bossRate(boss, POSTGRES_JOBS, BATCH));
    singles.push(await bossRate(boss, POSTGRES_JOBS / 4, 1));
  }
  const title = `claim + settle by ${BATCH} on Postgres, ${CLAIMERS} claimers of two Masters`;
  return [
    row(title, ours, `graphile-worker 0.17, concurrency ${CLAIMERS}`, graphiles, 1),
    row(title, ours, `pg-boss 10, ${CLAIMERS} fetchers one by one, its default`, singles, 4),
    row(title, ours, `pg-boss 10, ${CLAIMERS} fetchers by ${BATCH}`, bosses, 4),
  ];
}

async function ledgersOn(url: string, count: number): Promise<Ledger[]> {
  const ledgers: Ledger[] = [];
  for (let index = 0; index < count; index += 1) ledgers.push(await openLedger(url));
  return ledgers;
}

async function graphileRate(connectionString: string): Promise<number> {
  const utils = await makeWorkerUtils({ connectionString });
  await utils.migrate();
  await utils.addJobs(Array.from({ length: POSTGRES_JOBS }, () => ({ identifier: 'bench', payload: data })));
  await utils.release();
  let done = 0;
  let finish: () => void = () => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const startedAt = performance.now();
  const runner = await runGraphile({
    connectionString,
    concurrency: CLAIMERS,
    noHandleSignals: true,
    maxPoolSize: CLAIMERS + 2,
    logger: new Logger(() => () => {}),
    taskList: {
      bench: async () => {
        done += 1;
        if (done === POSTGRES_JOBS) finish();
      },
    },
  });
  await finished;
  const rate = POSTGRES_JOBS / ((performance.now() - startedAt) / 1_000);
  await runner.stop();
  return rate;
}

async function bossRate(boss: PgBoss, count: number, batchSize: number): Promise<number> {
  await boss.insert(Array.from({ length: count }, () => ({ name: 'bench', data })));
  const startedAt = performance.now();
  const fetcher = async () => {
    for (;;) {
      const jobs = await boss.fetch('bench', { batchSize });
      if (jobs.length === 0) return;
      await boss.complete(
        'bench',
        jobs.map(({ id }) => id),
      );
    }
  };
  await Promise.all(Array.from({ length: CLAIMERS }, fetcher));
  return count / ((performance.now() - startedAt) / 1_000);
}

function row(benchmark: string, ours: readonly number[], reference: string, theirs: readonly number[], least: number): Row {
  return {
    benchmark,
    figure: `${Math.round(median(ours))} jobs/s`,
    reference: `${reference}: ${Math.round(median(theirs))} jobs/s`,
    ratio: median(ours.map((rate, round) => rate / (theirs[round] ?? Number.NaN))),
    target: { least },
    notes: [`ours ${ours.map(Math.round).join(' ')}; theirs ${theirs.map(Math.round).join(' ')} jobs/s`],
    values: { ours, theirs },
  };
}
