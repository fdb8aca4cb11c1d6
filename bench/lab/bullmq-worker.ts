/** The worker's side of BullMQ: the same trivial job, in its own process's event loop, as BullMQ does it. */
import { Worker } from 'bullmq';
import { serve } from './child.js';

let worker: Worker | undefined;

const verbs = {
  async open({ port, concurrency }: { readonly port: number; readonly concurrency: number }): Promise<void> {
    worker = new Worker('bench', async (job) => job.data, {
      connection: { host: '127.0.0.1', port, maxRetriesPerRequest: null },
      concurrency,
    });
    await worker.waitUntilReady();
  },
};
export type BullWorker = typeof verbs;

serve(verbs, async () => worker?.close(true));
