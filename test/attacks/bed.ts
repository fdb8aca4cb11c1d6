/**
 * A program in which task modules run as in a Worker, to be filled up and to be spoiled from job to job: `node bed.js PLAN RESULT`. As the user that
 * starts it; the way from Master to Worker is not needed for this, and a process must serve the right jobs one after the other.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Json, Outcome } from '../../src/job/job.js';
import { TaskModuleRunner } from '../../src/runners/task-module/task-module-runner.js';
import { processesBelow, residentMb } from './machine.js';

export interface BedPlan {
  readonly sandbox: 'required' | 'off';
  /** The folder with the code of the attacks. */
  readonly task: string;
  readonly folder: string;
  /** Fill memory and disk: id and code. */
  readonly filling: readonly { readonly id: string; readonly attack: string; readonly w: Json }[];
  /** Plant something for the next job: id and name. */
  readonly between: readonly { readonly id: string; readonly name: string }[];
}

export type BedResult = Readonly<Record<string, { readonly through: boolean; readonly note: string }>>;

const MEMORY_MB = 160;
const SCRATCH_MB = 24;
/** Between two looks a job grows on; what bounds it for certain is the system's limit. */
const MEMORY_MARGIN_MB = 400;
const SECRET = 'victims-secret-4242';

const plan = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as BedPlan;
const result: Record<string, { through: boolean; note: string }> = {};

async function start(name: string, concurrency: number): Promise<TaskModuleRunner> {
  const scratchFolder = join(plan.folder, name);
  mkdirSync(scratchFolder, { recursive: true });
  return TaskModuleRunner.start({ concurrency, memoryMb: MEMORY_MB, scratchMb: SCRATCH_MB, scratchFolder, sandbox: plan.sandbox });
}

function run(runner: TaskModuleRunner, entry: string, digest: string, data: Json): Promise<Outcome> {
  const job = { id: `job-${digest}`, channel: 'default', data, attempt: 1, timeoutMs: 25_000 };
  const workplace = { digest, folder: plan.task, entry, readable: [plan.task] };
  return runner.run(job, { workplace, signal: new AbortController().signal, report: () => {} });
}

async function fill(): Promise<void> {
  const runner = await start('filling', 2);
  let peak = 0;
  const look = setInterval(() => {
    for (const pid of processesBelow(process.pid)) peak = Math.max(peak, residentMb(pid));
  }, 40);
  await Promise.all(
    plan.filling.map(async ({ id, attack, w }) => {
      const outcome = await run(runner, 'task.cjs', attack, { attack, w });
      const done = outcome.state === 'completed' && JSON.stringify(outcome.output).includes('"done"');
      result[id] = { through: done || peak > MEMORY_MB + MEMORY_MARGIN_MB, note: `${brief(outcome)}, at most ${Math.round(peak)} MiB` };
    }),
  );
  clearInterval(look);
  await runner.close();
}

async function plant(): Promise<void> {
  const runner = await start('between', 1);
  for (const { id, name } of plan.between) {
    const digest = `between-${id}`;
    // Two jobs at once: while jobs are short, both are handed to the same process.
    const job = (data: Json) => run(runner, 'between.cjs', digest, data);
    const first = await job({ do: 'plant', name });
    const victim = await job({ do: 'victim', secret: SECRET });
    const loot = await job({ do: 'loot' });
    const seen = victim.state === 'completed' ? (victim.output as { found?: Record<string, boolean>; secret?: string }) : {};
    const stolen = loot.state === 'completed' && typeof loot.output === 'number' && loot.output > 0;
    const spoiled = seen.found?.[name] === true || (victim.state === 'completed' && seen.secret !== SECRET) || victim.state !== 'completed';
    result[id] = { through: stolen || spoiled, note: [first, victim, loot].map(brief).join(' / ') };
  }
  await runner.close();
}

function brief(outcome: Outcome): string {
  return outcome.state === 'failed'
    ? `${outcome.error.code}: ${outcome.error.message.slice(0, 60)}`
    : JSON.stringify(outcome).slice(0, 200);
}

await fill();
await plant();
writeFileSync(process.argv[3] ?? '', JSON.stringify(result));
