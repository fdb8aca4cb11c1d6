import { type ProcessArguments, startWorker } from './dory-bed.js';

/** A Worker as a process of its own, with real containers; it ends with whoever started it. */
const worker = startWorker(JSON.parse(process.argv[2] ?? '{}') as ProcessArguments);
process.stdin.on('end', () => process.exit(1)).resume();
await worker.ready;
