/**
 * A program of its own, `node supervisor-main.js FOLDER`, started by the keeper `background` (detached) and by launchd: keeps the
 * Worker of the service in that folder running until it gets SIGTERM; a second one makes the Worker give back what it holds.
 */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../clock.js';
import { LOCAL_JSON, parseJson } from '../../kit/json.js';
import { createWhole } from '../../kit/whole-file.js';
import { keepInspectorShut, withoutInspector } from '../../sandbox/inspector.js';
import { isAlive, type MarkedProcess, markProcess } from './process-mark.js';
import { readRecord } from './record.js';
import { RotatingLog } from './rotating-log.js';
import { Supervisor } from './supervisor.js';
import { logFile } from './supervisor-files.js';

const folder = process.argv[2] ?? '';
const lock = join(folder, 'supervisor.lock');
process.title = 'peerwork supervisor';
keepInspectorShut();

const record = await readRecord(folder);
if (record === undefined || !(await takeLock())) process.exit(1);
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
// The terminal that it was started from may go.
process.on('SIGHUP', () => {});
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => supervisor.stop());
await supervisor.run();
await rm(lock, { force: true }).catch(() => {}); // it names a process that is gone

/** One supervisor a service, also when two are started at the same moment. */
async function takeLock(): Promise<boolean> {
  for (let tries = 0; tries < 3; tries += 1) {
    if (await createWhole(lock, JSON.stringify(markProcess(process.pid)))) return true;
    try {
      if (isAlive(parseJson(await readFile(lock, 'utf8'), LOCAL_JSON) as MarkedProcess)) return false;
    } catch {
      // not readable: nobody's
    }
    await rm(lock, { force: true });
  }
  return false;
}
