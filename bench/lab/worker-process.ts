/** One or many Workers in a process of their own, told what to do by a benchmark. */
import { Worker } from '../../src/worker/worker.js';
import { serve, usage } from './child.js';

const workers: Worker[] = [];
const syncs: { readonly digest: string; readonly bytes: number; readonly files: number; readonly ms: number }[] = [];

const verbs = {
  /** One Worker for each home; resolves when all have joined. */
  async open({
    token,
    homes,
    concurrency,
  }: {
    readonly token: string;
    readonly homes: readonly string[];
    readonly concurrency: number;
  }): Promise<void> {
    for (const home of homes) {
      const worker = new Worker({ token, home, concurrency, name: `bench-${workers.length}`, loglevel: 'error' });
      worker.on('synced', (sync) => syncs.push(sync));
      workers.push(worker);
    }
    await Promise.all(workers.map((worker) => worker.ready));
  },

  /** What arrived since the last time that this was asked. */
  takeSyncs: () => syncs.splice(0),

  /** Bytes received over the link, as plaintext. */
  received: () => workers.reduce((sum, worker) => sum + worker.status().traffic.received, 0),

  /** How jobs are kept away from the rest of the machine. */
  isolation: () => workers[0]?.status().isolation ?? '',

  usage,
};
export type WorkerVerbs = typeof verbs;

serve(verbs, async () => {
  await Promise.all(workers.map((worker) => worker.close()));
});
