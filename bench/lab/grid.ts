import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Child, Lab } from './lab.js';
import type { MasterVerbs } from './master-process.js';
import type { WorkerVerbs } from './worker-process.js';

/** Does nothing and gives back what it was given. */
export const TRIVIAL_TASK = 'export default (data) => data;\n';

export interface Grid {
  readonly master: Child<MasterVerbs>;
  readonly token: string;
  readonly trackers: readonly string[];
  readonly taskFolder: string;
}

/** A Master on a ledger file, with a tracker of its own on loopback, in one process. */
export async function startMaster(
  lab: Lab,
  files: Readonly<Record<string, string | Uint8Array>> = { 'task.mjs': TRIVIAL_TASK },
  tunnels: Readonly<Record<string, string>> = {},
): Promise<Grid> {
  const taskFolder = lab.makeFolder('task');
  for (const [name, content] of Object.entries(files)) writeFileSync(join(taskFolder, name), content);
  const master = lab.start<MasterVerbs>('master-process');
  const { token, trackers } = await master.ask('open', {
    task: taskFolder,
    tunnels,
    ledger: `sqlite:${join(lab.makeFolder('ledger'), 'ledger.db')}`,
  });
  return { master, token, trackers, taskFolder };
}

/** One process with a Worker that has joined. */
export async function startWorker(lab: Lab, grid: Grid, concurrency: number, home = lab.makeFolder('home')): Promise<Child<WorkerVerbs>> {
  const worker = lab.start<WorkerVerbs>('worker-process');
  await worker.ask('open', { token: grid.token, homes: [home], concurrency });
  return worker;
}

/** Changes the task's folder and waits until the Master has published what it found. */
export async function publishedAfter(grid: Grid, change: () => Promise<void>): Promise<void> {
  const before = await grid.master.ask('published', undefined);
  await change();
  for (let waited = 0; waited < PUBLISH_LIMIT_MS; waited += POLL_MS) {
    if ((await grid.master.ask('published', undefined)) > before) return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new Error('the Master does not publish the changed task');
}

const PUBLISH_LIMIT_MS = 30_000;
const POLL_MS = 20;
