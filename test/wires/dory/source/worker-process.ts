import { createInterface } from 'node:readline';
import { createLog } from '../../../../src/log.js';
import { type DorySourceOptions, dorySource } from '../../../../src/wires/dory/source/setup.js';
import { Worker } from '../../../../src/worker/worker.js';
import { HeldCrawl } from './lab.js';

/**
 * A Worker in a process of its own that tests can kill. Prints `crawl <run>` on stdout for each crawl that it starts; a line on stdin
 * completes all running crawls.
 */
const { options, home } = JSON.parse(process.argv[2] ?? '{}') as { options: DorySourceOptions; home: string };
const crawls: HeldCrawl[] = [];

const worker = new Worker({
  ...{ home, concurrency: 4, sandbox: 'off', name: options.workerId ?? 'w' },
  log: createLog({ level: 'info', write: (line) => process.stdout.write(`${line}\n`) }),
  sources: [dorySource(options)],
  runners: [
    {
      kind: 'crawl',
      open: async () => ({
        kind: 'crawl',
        isolation: 'none, it is a test',
        run: (job, context) => {
          const crawl = new HeldCrawl(job, context);
          crawls.push(crawl);
          process.stdout.write(`crawl ${job.id}\n`);
          return crawl.ended;
        },
        close: async () => {},
      }),
    },
  ],
});
const lines = createInterface({ input: process.stdin });
lines.on('line', () => {
  for (const crawl of crawls) crawl.complete();
});
// The test process is gone.
lines.on('close', () => process.exit(1));
await worker.ready;
