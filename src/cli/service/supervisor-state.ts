import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import { LOCAL_JSON, parseJson } from '../../kit/json.js';

const marked = v.object({ pid: v.number(), mark: v.string() });
const shape = v.object({
  supervisor: marked,
  worker: v.optional(marked),
  /** How often the Worker was started anew, by itself. */
  restarts: v.number(),
  /** How the Worker ended last: `exit code 1` or `SIGKILL`. */
  lastEnd: v.optional(v.string()),
  /** When it is started again, if it waits for that. */
  nextStartAt: v.optional(v.number()),
});

/** What a supervisor says of itself, in `supervisor.json` of the service's folder; the file goes when it ends in order. */
export type SupervisorState = v.InferOutput<typeof shape>;

export function stateFile(folder: string): string {
  return join(folder, 'supervisor.json');
}

/** Undefined if there is none, or none that can be read. */
export async function readSupervisorState(folder: string): Promise<SupervisorState | undefined> {
  try {
    return v.parse(shape, parseJson(await readFile(stateFile(folder), 'utf8'), LOCAL_JSON));
  } catch {
    return undefined;
  }
}

/** What the Worker of a service writes, where we keep the log ourselves; beside it up to four older ones. */
export function logFile(folder: string): string {
  return join(folder, 'worker.log');
}

export const supervisorProgram = fileURLToPath(new URL('../bundle/supervisor-main.js', import.meta.url));
