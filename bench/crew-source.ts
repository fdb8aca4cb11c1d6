import { setTimeout as sleep } from 'node:timers/promises';
import { crewSource } from '../src/wires/crew/source/crew-source.js';
import type { CrewProcess } from './lab/crew-process.js';
import { drainSource, openSource } from './lab/open-source.js';
import { type Benchmark, median, type Row } from './lab/report.js';

const JOBS = 400;
const ROUNDS = 3;
const PLACES = 8;
const IDLE_MS = 45_000;
/** A worker of crew asks its one channel when it starts and every 15 seconds. */
const CREW_INTERVAL_MS = 15_000;

/** Acquire and release against a server in a process of its own, beside a plain client with as many requests open; and what an idle source asks. */
export const crewJobs: Benchmark = {
  name: 'crew-source',
  async run(lab) {
    const server = lab.start<CrewProcess>('crew-process');
    const url = await server.ask('open', undefined);
    const source = await openSource(lab, crewSource({ url, tasks: { c: 'none' } }));
    const ours: number[] = [];
    const theirs: number[] = [];
    for (let round = 0; round <= ROUNDS; round += 1) {
      await server.ask('fill', JOBS);
      const rate = await drainSource(source, JOBS, PLACES);
      await server.ask('fill', JOBS);
      const plain = await drainPlainly(url);
      if (round > 0) ours.push(rate);
      if (round > 0) theirs.push(plain);
    }
    const row: Row = {
      benchmark: `crew source: acquire and release, ${PLACES} at a time`,
      figure: `${Math.round(median(ours))} jobs/s`,
      reference: `fetch alone, ${PLACES} loops: ${Math.round(median(theirs))} jobs/s`,
      ratio: median(ours.map((each, round) => each / (theirs[round] ?? Number.NaN))),
      values: { ours, theirs },
    };
    await source.close();
    return [row, await idle(1), await idle(20)];

    async function idle(channels: number): Promise<Row> {
      const names = Array.from({ length: channels }, (_, at) => `c${at}`);
      await server.ask('fill', 0);
      const tasks = Object.fromEntries(names.map((name) => [name, 'none']));
      const waiting = await openSource(lab, crewSource({ name: `idle-${channels}`, url, tasks }));
      const stop = new AbortController();
      // As in a Worker whose places other sources fill now and then: claims are withdrawn and made again.
      const claims = (async () => {
        while (!stop.signal.aborted) await waiting.claim(PLACES, AbortSignal.any([stop.signal, AbortSignal.timeout(200)]));
      })();
      await sleep(IDLE_MS);
      const requests = await server.ask('requests', undefined);
      stop.abort();
      await claims;
      await waiting.close();
      const expected = channels * (1 + IDLE_MS / CREW_INTERVAL_MS);
      return {
        benchmark: `crew source idle on ${channels} ${channels === 1 ? 'channel' : 'channels'}, ${IDLE_MS / 1_000} s`,
        figure: `${requests} requests`,
        reference: `crew's own workers, one a channel: ${expected}`,
        ratio: requests / expected,
        values: { requests },
      };
    }
  },
};

async function drainPlainly(url: string): Promise<number> {
  const startedAt = performance.now();
  const post = async (path: string, body: object) => {
    const response = await fetch(`${url}api/v1/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    return (await response.json()) as { readonly task?: { readonly _id: string } | null };
  };
  const work = async () => {
    for (;;) {
      const { task } = await post('channel/c/acquire', { workerId: 'plain' });
      if (!task) return;
      await post(`task/${task._id}/release`, { workerId: 'plain', output: { n: 1 }, children: [], childrenDelayInSeconds: 0 });
    }
  };
  await Promise.all(Array.from({ length: PLACES }, work));
  return JOBS / ((performance.now() - startedAt) / 1_000);
}
