import { join } from 'node:path';
import type { Ledger } from '../src/ledger/ledger.js';
import { openLedger } from '../src/ledger/open.js';
import { type Benchmark, median, type Row } from './lab/report.js';

const CYCLES = 400;
const BATCH = 50;
const SINGLES = 200;
const CLAIMS = 250;
const worker = { id: 'bench', name: 'bench' };
const data = 'x'.repeat(200);

/**
 * The ledger alone, without a network: add, claim and settle in batches of 50, each its own call, on a file with synchronous=FULL; one
 * operation on an idle ledger; and what a long backlog or many delayed jobs do to a claim (in memory, in turns).
 */
export const ledgerAlone: Benchmark = {
  name: 'ledger',
  async run(lab) {
    const ledger = await openLedger(`sqlite:${join(lab.folder, 'bench-ledger.db')}`);
    try {
      return [...(await cycles(ledger)), await singles(ledger), ...(await claims())];
    } finally {
      await ledger.close();
    }
  },
};

async function cycle(ledger: Ledger): Promise<void> {
  const now = Date.now();
  await ledger.add(Array(BATCH).fill({ data }), now);
  const leased = await ledger.claim({ worker, channels: ['default'], limit: BATCH, until: now + 30_000 }, now);
  const settlements = leased.map(({ id, lease }) => ({
    id,
    lease,
    outcome: { state: 'completed', output: { ok: true } } as const,
    startedAt: now,
    finishedAt: now,
  }));
  await ledger.settle(worker, settlements, now);
}

async function cycles(ledger: Ledger): Promise<Row[]> {
  for (let i = 0; i < 40; i += 1) await cycle(ledger);
  const cpu = process.cpuUsage();
  const startedAt = performance.now();
  for (let i = 0; i < CYCLES; i += 1) await cycle(ledger);
  const tookMs = performance.now() - startedAt;
  const used = process.cpuUsage(cpu);
  const jobs = CYCLES * BATCH;
  const rate = jobs / (tookMs / 1_000);
  const cpuUs = (used.user + used.system) / jobs;
  return [
    {
      benchmark: 'ledger: add + claim + settle by 50',
      figure: `${Math.round(rate)} jobs/s`,
      reference: '20,000 jobs/s',
      ratio: rate / 20_000,
      target: { least: 1 },
    },
    {
      benchmark: 'ledger: CPU of that',
      figure: `${cpuUs.toFixed(1)} µs/job`,
      reference: '60 µs/job',
      ratio: cpuUs / 60,
      target: { most: 1 },
    },
  ];
}

async function singles(ledger: Ledger): Promise<Row> {
  const times: number[] = [];
  for (let i = 0; i < SINGLES; i += 1) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    const startedAt = performance.now();
    await ledger.add([{ data }], Date.now());
    times.push(performance.now() - startedAt);
  }
  const p50 = median(times);
  return {
    benchmark: 'ledger: one add while idle, p50',
    figure: `${p50.toFixed(2)} ms`,
    reference: '1 ms',
    ratio: p50,
    target: { most: 1 },
  };
}

async function filled(ready: number, delayed: number): Promise<Ledger> {
  const ledger = await openLedger('memory:');
  await ledger.add(Array(ready).fill({ data }), Date.now());
  await ledger.add(Array(delayed).fill({ data, priority: 1, delayMs: 3_600_000 }), Date.now());
  return ledger;
}

async function claims(): Promise<Row[]> {
  const measured = [];
  for (const [ready, delayed] of [
    [5_000, 0],
    [100_000, 0],
    [5_000, 100_000],
  ] as const)
    measured.push({ ledger: await filled(ready, delayed), times: [] as number[] });
  for (let i = 0; i < CLAIMS; i += 1)
    for (const { ledger, times } of measured) {
      const startedAt = performance.now();
      await ledger.claim({ worker, channels: ['default'], limit: 10, until: Date.now() + 3_600_000 }, Date.now());
      times.push(performance.now() - startedAt);
    }
  for (const { ledger } of measured) await ledger.close();
  const [small = Number.NaN, large = Number.NaN, delayed = Number.NaN] = measured.map(({ times }) => median(times));
  const reference = `${small.toFixed(3)} ms at a backlog of 5,000`;
  return [
    {
      benchmark: 'ledger: claim of 10 at a backlog of 100,000',
      figure: `${large.toFixed(3)} ms`,
      reference,
      ratio: large / small,
      target: { most: 1.5 },
    },
    {
      benchmark: 'ledger: claim behind 100,000 delayed jobs',
      figure: `${delayed.toFixed(3)} ms`,
      reference,
      ratio: delayed / small,
      target: { most: 1.5 },
    },
  ];
}
