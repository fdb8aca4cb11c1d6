import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import { LOCAL_JSON, parseJson } from '../../kit/json.js';

const marked = v.object({ pid: v.number(), mark: v.string() });
const shape = v.object({
  supervisor: marked,
  worker: v.optional(marked),
  /** Number of automatic restarts of the Worker. */
  restarts: v.number(),
  /** How the Worker last ended: `exit code 1` or `SIGKILL`. */
  lastEnd: v.optional(v.string()),
  /** When the Worker will be restarted, if a restart is pending. */
  nextStartAt: v.optional(v.number()),
});

/** What a supervisor records about itself in `supervisor.json` of the service's folder. The file is removed on an orderly end. */
export type SupervisorState = v.InferOutput<typeof shape>;

/** Returns the path of a supervisor's state file. */
export function stateFile(folder: string): string {
  return join(folder, 'supervisor.json');
}

/** Returns undefined if the file is missing or invalid. */
export async function readSupervisorState(folder: string): Promise<SupervisorState | undefined> {
  try {
    return v.parse(shape, parseJson(await readFile(stateFile(folder), 'utf8'), LOCAL_JSON));
  } catch {
    return undefined;
  }
}

/** Returns the log of a service's Worker, if we keep the log ourselves; up to four older ones are next to it. */
export function logFile(folder: string): string {
  return join(folder, 'worker.log');
}

/** Path of the bundled supervisor program. */
export const supervisorProgram = fileURLToPath(new URL('../bundle/supervisor-main.js', import.meta.url));
