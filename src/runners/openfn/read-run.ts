import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PeerworkError } from '../../errors.js';
import type { Job, Json } from '../../job/job.js';
import type { OpenfnRun } from '../../job/openfn.js';
import type { Workplace } from '../../job/runner.js';
import { LOCAL_JSON, parseJson } from '../../kit/json.js';

/** Settings of other runners that mean nothing to a workflow: nobody shall believe that they hold. `children` is its Master's business. */
const NOT_HERE = ['tunnel', 'network', 'process'] as const;

/** Of a job whose source has no exchange: `task.json` and above it the job's data, in the shape of an OpenfnRun. Rejects with `task-settings-invalid`. */
export async function readRun({ id, data }: Job, workplace: Workplace | undefined): Promise<OpenfnRun> {
  const task = workplace === undefined ? {} : await readTask(workplace);
  const run = { ...task, ...(isObject(data) && data) };
  const { steps } = run;
  if (!Array.isArray(steps) || steps.length === 0 || !steps.every((step: Json) => isObject(step) && typeof step['id'] === 'string'))
    throw new PeerworkError('openfn-run-failed', 'it has no steps, each with an id');
  return { options: {}, input: {}, ...run, id } as unknown as OpenfnRun;
}

async function readTask({ folder, entry }: Workplace): Promise<{ readonly [name: string]: Json }> {
  const task = parseJson(await readFile(join(folder, entry)), LOCAL_JSON) as Json;
  if (!isObject(task)) throw new PeerworkError('task-settings-invalid', `${entry}: it is not an object`);
  for (const name of NOT_HERE)
    if (task[name] !== undefined)
      throw new PeerworkError('task-settings-invalid', `${entry}: ${name}: the runner openfn has no such setting`);
  return task;
}

function isObject(value: Json): value is { readonly [name: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
