/** A Master and its tracker in a process of their own, told what to do by a benchmark. */
import { randomUUID } from 'node:crypto';
import type { SettledJob } from '../../src/job/job.js';
import { Master } from '../../src/master/master.js';
import { TrackerServer } from '../../src/swarm/tracker-server.node.js';
import { serve, sharedNow, usage } from './child.js';

const tracker = new TrackerServer();
let opened: Master | undefined;
/** When each job settled, on the shared clock. */
const settledAt = new Map<string, number>();
const MAX_REMEMBERED = 10_000;
let onSettled: (job: SettledJob) => void = () => {};
let published = 0;

function master(): Master {
  if (opened === undefined) throw new Error('open first');
  return opened;
}

/** Milliseconds from the push of a job to its outcome. */
async function runOne(n: number): Promise<number> {
  const id = randomUUID();
  const settled = new Promise<void>((resolve, reject) => {
    onSettled = (job) => {
      if (job.id !== id) return;
      if (job.state === 'completed') resolve();
      else reject(new Error(`the job ended as ${job.state}: ${job.error?.code} ${job.error?.message}`));
    };
  });
  const startedAt = sharedNow();
  await master().push({ id, data: { n } });
  await settled;
  return sharedNow() - startedAt;
}

const verbs = {
  async open({
    task,
    ledger,
    tunnels = {},
  }: {
    readonly task: string;
    readonly tunnels?: Readonly<Record<string, string>>;
    readonly ledger: string;
  }): Promise<{ token: string; trackers: readonly string[] }> {
    await tracker.start();
    const trackers = [tracker.url];
    opened = new Master({ task, ledger, tunnels, trackers, loglevel: 'error' });
    opened.on('settled', (job) => {
      if (settledAt.size > MAX_REMEMBERED) settledAt.clear();
      settledAt.set(job.id, sharedNow());
      onSettled(job);
    });
    opened.on('published', () => {
      published += 1;
    });
    await opened.ready;
    return { token: opened.token, trackers };
  },

  /** Milliseconds from the first push to the last outcome. */
  async run({ jobs }: { readonly jobs: number }): Promise<number> {
    let open = jobs;
    const all = new Promise<void>((resolve, reject) => {
      onSettled = ({ state, error }) => {
        if (state !== 'completed') reject(new Error(`a job ended as ${state}: ${error?.code} ${error?.message}`));
        open -= 1;
        if (open === 0) resolve();
      };
    });
    const startedAt = sharedNow();
    await master().push(Array.from({ length: jobs }, (_, n) => ({ data: { n } })));
    await all;
    return sharedNow() - startedAt;
  },

  /** Milliseconds from push to outcome, one job after the other, each after a pause. */
  async roundTrips({ jobs, pauseMs = 0 }: { readonly jobs: number; readonly pauseMs?: number }): Promise<number[]> {
    const times: number[] = [];
    for (let n = 0; n < jobs; n += 1) {
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      times.push(await runOne(n));
    }
    return times;
  },

  push(): Promise<string> {
    return master().push({ data: { n: 0 } });
  },

  /** When the job settled, on the shared clock. */
  async settled({ id }: { readonly id: string }): Promise<number> {
    for (;;) {
      const at = settledAt.get(id);
      if (at !== undefined) return at;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  },

  /** How many versions of the task were published so far. */
  published: () => published,

  workers: () => master().workers().length,

  /** Resolves when so many workers are connected. */
  async joined({ workers }: { readonly workers: number }): Promise<void> {
    while (master().workers().length < workers) await new Promise((resolve) => setTimeout(resolve, 5));
  },

  usage,
};
export type MasterVerbs = typeof verbs;

serve(verbs, async () => {
  await opened?.close();
  await tracker.close();
});
