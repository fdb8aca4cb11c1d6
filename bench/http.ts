import { join } from 'node:path';
import { Master } from '../src/master/master.js';
import { type Benchmark, median, quantile, type Row } from './lab/report.js';

const JOBS = 100_000;
const CYCLES = 400;
/** What a crew worker gets that asks for one task after the other. */
const CREW_PER_SECOND = 2;

/** The HTTP API over loopback: a stream of 100,000 jobs, and one worker that acquires and settles one job after the other. Ledger on a file. */
export const http: Benchmark = {
  name: 'http',
  async run(lab) {
    const task = new URL('../../assets/tasks/hello', import.meta.url).pathname;
    const ledger = `sqlite:${join(lab.folder, 'http.db')}`;
    const master = new Master({ ledger, task, trackers: ['ws://127.0.0.1:9'], http: { port: 0 }, loglevel: 'off' });
    master.on('error', () => {});
    lab.onClose(() => master.close());
    const url = (await master.url) ?? '';
    return [await push(url), await cycle(url)];
  },
};

async function push(url: string): Promise<Row> {
  let at = 0;
  const lines = new ReadableStream<Uint8Array>({
    pull(controller) {
      let text = '';
      for (const end = Math.min(JOBS, at + 500); at < end; at += 1) text += `{"id":"job-${at}","data":{"text":"${'x'.repeat(100)}"}}\n`;
      controller.enqueue(Buffer.from(text));
      if (at === JOBS) controller.close();
    },
  });
  globalThis.gc?.();
  const before = process.memoryUsage().rss;
  let most = before;
  const watching = setInterval(() => {
    most = Math.max(most, process.memoryUsage().rss);
  }, 50);
  const startedAt = performance.now();
  const init = { method: 'POST', headers: { 'content-type': 'application/x-ndjson' }, body: lines, duplex: 'half' } as RequestInit;
  const answer = await (await fetch(`${url}/v1/jobs?answers=problems`, init)).text();
  const tookMs = performance.now() - startedAt;
  clearInterval(watching);
  if (!answer.includes(`"added":${JOBS}`)) throw new Error(`the push ended with ${answer.slice(-200)}`);
  const grownMb = (most - before) / 2 ** 20;
  return {
    benchmark: 'push of 100,000 jobs as NDJSON',
    figure: `${Math.round(JOBS / (tookMs / 1_000))} jobs/s`,
    reference: `memory grew by ${grownMb.toFixed(0)} MiB at most, sender and Master in one process`,
    ratio: grownMb,
  };
}

async function cycle(url: string): Promise<Row> {
  const ask = async (path: string, body: unknown) => {
    const response = await fetch(`${url}/v1/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    return response.json() as Promise<{ readonly jobs: { readonly id: string; readonly lease: number }[]; readonly answers: string[] }>;
  };
  const worker = { name: 'bench' };
  const times: number[] = [];
  const startedAt = performance.now();
  for (let round = 0; round < CYCLES; round += 1) {
    const begun = performance.now();
    const { jobs } = await ask('leases', { worker, channels: ['default'] });
    const results = jobs.map(({ id, lease }) => ({ id, lease, outcome: { state: 'completed', output: 1 } }));
    const { answers } = await ask('leases/settle', { worker, results });
    if (answers[0] !== 'settled') throw new Error(`a job was not settled: ${answers[0]}`);
    times.push(performance.now() - begun);
  }
  const rate = CYCLES / ((performance.now() - startedAt) / 1_000);
  return {
    benchmark: 'acquire + settle over HTTP, one worker, one by one',
    figure: `${Math.round(rate)} jobs/s, p50 ${median(times).toFixed(1)} ms, p95 ${quantile(times, 0.95).toFixed(1)} ms`,
    reference: `a crew worker: ${CREW_PER_SECOND} jobs/s`,
    ratio: rate / CREW_PER_SECOND,
    target: { least: 5 },
  };
}
