import { type ProcessArguments, startWorker } from './dory-bed.js';

/** A Worker in a process of its own, with real containers; it ends with its parent. */
const worker = startWorker(JSON.parse(process.argv[2] ?? '{}') as ProcessArguments);
process.stdin.on('end', () => process.exit(1)).resume();
await worker.ready;
