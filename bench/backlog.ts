import type { Ledger } from '../src/ledger/ledger.js';
import { openLedger } from '../src/ledger/open.js';
import { type Benchmark, median, type Row } from './lab/report.js';

const LARGE = 1_000_000;
const SMALL = 1_000;
const ADD = 10_000;
const CLAIMS = 90;
const GRAPH = 10_000;
const worker = { id: 'bench', name: 'bench' };

/** What a million waiting jobs do to a claim, and a graph of 10,000 jobs with three parents each, from the push to its end. In memory. */
export const backlog: Benchmark = {
  name: 'backlog',
  async run() {
    return [await claims(), await graph()];
  },
};

async function claims(): Promise<Row> {
  const measured: { readonly ledger: Ledger; readonly times: number[] }[] = [];
  for (const jobs of [SMALL, LARGE]) {
    const ledger = await openLedger('memory:');
    for (let at = 0; at < jobs; at += ADD) await ledger.add(Array(Math.min(ADD, jobs)).fill({ data: null }), Date.now());
    measured.push({ ledger, times: [] });
  }
  for (let round = 0; round < CLAIMS; round += 1)
    for (const { ledger, times } of measured) {
      const startedAt = performance.now();
      await ledger.claim({ worker, channels: ['default'], limit: 10, until: Date.now() + 3_600_000 }, Date.now());
      times.push(performance.now() - startedAt);
    }
  for (const { ledger } of measured) await ledger.close();
  const [small = Number.NaN, large = Number.NaN] = measured.map(({ times }) => median(times));
  return {
    benchmark: 'claim of 10 at a backlog of 1,000,000',
    figure: `${large.toFixed(3)} ms`,
    reference: `${small.toFixed(3)} ms at a backlog of 1,000`,
    ratio: large / small,
    target: { most: 1.5 },
  };
}

async function graph(): Promise<Row> {
  const ledger = await openLedger('memory:');
  const parentsOf = Array.from({ length: GRAPH }, (_, at) =>
    at < 3 ? [] : [1, 2, 3].map((back) => at - 1 - ((at * 7919 * back) % Math.min(at, 200))),
  );
  const startedAt = performance.now();
  await ledger.add(
    parentsOf.map((parents, at) => ({ id: `j${at}`, data: null, parents: [...new Set(parents)].map((parent) => `j${parent}`) })),
    Date.now(),
  );
  const pushMs = performance.now() - startedAt;
  const done = new Set<string>();
  let early = 0;
  while (done.size < GRAPH) {
    const now = Date.now();
    const jobs = await ledger.claim({ worker, channels: ['default'], limit: 32, until: now + 30_000 }, now);
    if (jobs.length === 0) throw new Error(`${GRAPH - done.size} jobs are never ready`);
    for (const { id } of jobs) if (parentsOf[Number(id.slice(1))]?.some((parent) => !done.has(`j${parent}`))) early += 1;
    const outcome = { state: 'completed', output: null } as const;
    await ledger.settle(
      worker,
      jobs.map(({ id, lease }) => ({ id, lease, outcome, startedAt: now, finishedAt: now })),
      now,
    );
    for (const { id } of jobs) done.add(id);
  }
  const tookMs = performance.now() - startedAt;
  await ledger.close();
  return {
    benchmark: 'a graph of 10,000 jobs with 3 parents, to the end',
    figure: `${early} early claims`,
    reference: `${(tookMs / 1_000).toFixed(1)} s, ${Math.round(GRAPH / (tookMs / 1_000))} jobs/s, the push ${Math.round(pushMs)} ms of it`,
    ratio: early,
    target: { most: 0 },
  };
}
