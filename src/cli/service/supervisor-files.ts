import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What the Worker of a service writes, where we keep the log ourselves; beside it up to four older ones. */
export function logFile(folder: string): string {
  return join(folder, 'worker.log');
}

export const supervisorProgram = fileURLToPath(new URL('../bundle/supervisor-main.js', import.meta.url));
