/** The producer's side of BullMQ: adds jobs in bulk and hears of each outcome by the queue's events, as our Master does. */
import { Queue, QueueEvents } from 'bullmq';
import { serve, sharedNow } from './child.js';

const BULK = 500;
const name = 'bench';
let queue: Queue | undefined;
let events: QueueEvents | undefined;
let open = 0;
let finished: () => void = () => {};

function ended(): void {
  open -= 1;
  if (open === 0) finished();
}

const verbs = {
  async open({ port }: { readonly port: number }): Promise<void> {
    const connection = { host: '127.0.0.1', port, maxRetriesPerRequest: null };
    queue = new Queue(name, { connection });
    events = new QueueEvents(name, { connection });
    events.on('completed', ended);
    events.on('failed', ended);
    await Promise.all([queue.waitUntilReady(), events.waitUntilReady()]);
  },

  /** Milliseconds from the first add to the last outcome; with `filled`, from the moment at which all were there and the queue was let go. */
  async run({ jobs, filled = false }: { readonly jobs: number; readonly filled?: boolean }): Promise<number> {
    open = jobs;
    const all = new Promise<void>((resolve) => {
      finished = resolve;
    });
    if (filled) await queue?.pause();
    let startedAt = sharedNow();
    for (let first = 0; first < jobs; first += BULK) {
      const bulk = Array.from({ length: Math.min(BULK, jobs - first) }, (_, at) => ({ name: 'job', data: { n: first + at } }));
      await queue?.addBulk(bulk);
    }
    if (filled) {
      startedAt = sharedNow();
      await queue?.resume();
    }
    await all;
    return sharedNow() - startedAt;
  },
};
export type BullProducer = typeof verbs;

serve(verbs, async () => {
  await events?.close();
  await queue?.close();
});
