/**
 * A program of its own, `node supervisor-main.js FOLDER`, started by the `background` keeper (detached) and by launchd. Keeps the
 * Worker of the service in that folder running until SIGTERM; a second SIGTERM makes the Worker give back its jobs.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../clock.js';
import { isLock, takeLock } from '../../kit/process-lock.js';
import { keepInspectorShut, withoutInspector } from '../../sandbox/inspector.js';
import { readRecord } from './record.js';
import { RotatingLog } from './rotating-log.js';
import { Supervisor } from './supervisor.js';
import { logFile } from './supervisor-state.js';

const folder = process.argv[2] ?? '';
process.title = 'peerwork supervisor';
keepInspectorShut();

const record = await readRecord(folder);
// One supervisor per service, even if two are started at the same moment.
const lock = record === undefined ? undefined : await takeLock(join(folder, 'supervisor.lock'));
if (record === undefined || lock === undefined || !isLock(lock)) process.exit(1);
const supervisor = new Supervisor({
  folder,
  command: [
    process.execPath,
    ...withoutInspector,
    fileURLToPath(new URL('../bundle/worker-main.js', import.meta.url)),
    'worker',
    '--dotenv',
    record.dotenv,
  ],
  cwd: record.folder,
  env: record.env,
  drainMs: record.drainMs,
  log: new RotatingLog(logFile(folder)),
  clock: systemClock,
});
// The terminal it was started from may close.
process.on('SIGHUP', () => {});
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => supervisor.stop());
await supervisor.run();
await lock.release();
