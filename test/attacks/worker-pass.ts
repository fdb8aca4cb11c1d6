import { execFileSync } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PROXY_SOCKET } from '../../src/egress/proxy.js';
import type { Grid, Program } from '../lab/grid.js';
import { until } from '../lab/until.js';
import { ownersWords, wishes } from './addresses.js';
import type { Attack, Policy, Tier } from './attack.js';
import { listNumbers, residentMb } from './machine.js';
import { mustWork } from './network-attacks.js';
import { conclude, type Finding, namesIn, ownFolder, PATIENCE_MS } from './passes.js';
import { contentOf, ENVIRONMENT_SECRET, inventOwner, orderOf, type Target, takeAim } from './shots.js';
import type { Stage } from './stage.js';
import type { Said, Shot } from './verdict.js';

export interface WorkerPlan {
  readonly name: string;
  readonly tier: Exclude<Tier, 'container'>;
  readonly uid: number;
}

export interface WorkerReport {
  readonly findings: readonly Finding[];
  /** What went wrong with the Worker itself: it ended, did no more jobs, grew beyond reason, left something behind, did not start again. */
  readonly harm: readonly string[];
}

const policies: readonly Policy[] = ['internet', 'none', 'hosts', 'lan'];
const OUTCOMES = 'outcomes.ndjson';
const JOB_LIMIT_MS = 10_000;
/** Of those that are to come through, with the start of their process on a busy machine. */
const PATIENT_JOB_LIMIT_MS = 120_000;
/** Of jobs that never end by themselves. */
export const LOOP_LIMIT_MS = 1_000;
export const loops = /loop|ignores its end|hangs when/;
/** A Master or a Worker that carries ordinary jobs has about 150. */
const MAX_RESIDENT_MB = 700;
const JOBS_AT_ONCE = '4';

/** Every attack as a job of a published task, from a real Master to a real Worker, each in a process of its own, through the command line. */
export async function runWorker(stage: Stage, plan: WorkerPlan, attacks: readonly Attack[]): Promise<WorkerReport> {
  const grid = stage.grid();
  const here = [...stage.inside(0)];
  try {
    await grid.tracker(0, { prefix: here });
    const tasks = policies.flatMap((policy) => ['--task', `${policy}=${writeTask(stage, grid, policy)}`]);
    const serving = ['--http', '127.0.0.1:0', '--output', OUTCOMES];
    const { program: master, token } = await grid.master([...tasks, '--task', `other=${writeOther(grid)}`, ...serving], { prefix: here });
    const [, api = ''] = /Dashboard: (http:\/\/\S+)\//.exec(await master.line(/Dashboard: /)) ?? [];
    const push = (jobs: readonly unknown[]) => pushJobs(grid, here, api, jobs);
    const worker = startWorker(stage, grid, plan, token);
    await push([{ id: 'first', channel: 'other', data: null }]);
    await untilOutcomes(grid, 1, worker);
    const target = targetOf(stage, grid, plan, worker, token);
    const shots = await takeAim(target, attacks);
    const peak = watch([master, worker]);
    await push(shots.map((shot) => jobOf(shot, plan.tier)));
    await untilOutcomes(grid, shots.length + 1, worker);
    await push([{ id: 'last', channel: 'other', data: null }]);
    await untilOutcomes(grid, shots.length + 2, worker);
    peak.stop();
    const outcomes = new Map(grid.outcomes(OUTCOMES).map((outcome) => [outcome.id, outcome]));
    for (const shot of shots) shot.said = saidOf(outcomes.get(shot.aim.id));
    const harm: string[] = [];
    if (!worker.running) harm.push(`the Worker ended: ${worker.text.slice(-600)}`);
    for (const id of ['first', 'last'])
      if (outcomes.get(id)?.state !== 'completed') harm.push(`an innocent job failed: ${JSON.stringify(outcomes.get(id))}`);
    if (peak.mb() > MAX_RESIDENT_MB) harm.push(`a Master or Worker took ${peak.mb()} MiB`);
    await endWorker(worker, plan, grid, harm);
    // Only now: what an attack has left must be gone with the Worker at the latest.
    const findings = await conclude(stage, shots);
    harm.push(...(await startsAgain(stage, grid, plan, token)));
    return { findings, harm };
  } finally {
    await grid.close();
  }
}

function writeTask(stage: Stage, grid: Grid, policy: Policy): string {
  const folder = join(grid.folder, `task-${policy}`);
  stage.copyTask(folder);
  writeFileSync(join(folder, 'task.json'), JSON.stringify({ network: wishes[policy] }));
  return folder;
}

export function writeOther(grid: Grid): string {
  const folder = join(grid.folder, 'task-other');
  mkdirSync(folder);
  writeFileSync(join(folder, 'task.cjs'), 'module.exports = () => __dirname;');
  writeFileSync(join(folder, 'other-secret.txt'), 'secret-of-another-task-0815\n');
  return folder;
}

export function startWorker(
  stage: Stage,
  grid: Grid,
  { name, tier, uid }: WorkerPlan,
  token: string,
  more: readonly string[] = ['--containers', 'off', '--memory-mb', '256'],
  environment: Readonly<Record<string, string>> = {},
): Program {
  const home = ownFolder(join(grid.folder, name), uid);
  writeFileSync(join(home, '.env'), `token=${token}\n`, { mode: 0o600 });
  chownSync(join(home, '.env'), uid, uid);
  const options = [
    ...ownersWords.flatMap((word) => ['--task-network', word]),
    '--sandbox',
    tier === 'bwrap' ? 'required' : 'off',
    '--concurrency',
    JOBS_AT_ONCE,
    ...more,
  ];
  return grid.start(['worker', '--name', name, ...options], {
    cwd: home,
    prefix: stage.inside(uid),
    env: { HOME: home, OWNERS_SECRET: ENVIRONMENT_SECRET, ...environment },
  });
}

export function targetOf(stage: Stage, grid: Grid, { name, uid }: WorkerPlan, worker: Program, token: string): Target {
  const home = join(grid.folder, name);
  const mine = join(home, '.peerwork', 'workers', '1');
  const invented = inventOwner(home, uid, worker.pid);
  const key = readFileSync(join(mine, 'key.json'), 'utf8');
  const task = namesIn(join(mine, 'workplaces'))
    .map((digest) => join(mine, 'workplaces', digest, 'other-secret.txt'))
    .find((path) => existsSync(path));
  const layer = join(home, '.peerwork/store/layers/another/node_modules/index.js');
  ownFolder(join(layer, '..'), uid);
  writeFileSync(layer, 'secret-of-a-dependency-0816\n');
  const outbox = join(mine, 'outbox', 'notes');
  ownFolder(join(outbox, '..'), uid);
  writeFileSync(outbox, 'secret-of-the-outbox-0817\n');
  const owner = {
    ...invented,
    dotenv: { path: join(home, '.env'), secret: token },
    key: { path: join(mine, 'key.json'), secret: /[\w+/-]{40,}/.exec(key)?.[0] ?? key },
    outbox: contentOf(outbox),
    layer: contentOf(layer),
    ...(task !== undefined && { task: contentOf(task) }),
  };
  return { stage, name, uid, worker: worker.pid, owner, zone: 'wan' };
}

function jobOf(shot: Shot, tier: WorkerPlan['tier']): unknown {
  const open = tier === 'process' && shot.attack.expected?.process === 'open';
  const { attack, w } = orderOf(shot, open ? PATIENCE_MS : undefined);
  // Node's permission model tells nobody that it is there, and connects all the same.
  const data = { attack, w: tier === 'bwrap' ? { ...w, proxy: PROXY_SOCKET } : w };
  const patient = open || mustWork.includes(shot.attack);
  const timeoutMs = loops.test(shot.attack.body) ? LOOP_LIMIT_MS : patient ? PATIENT_JOB_LIMIT_MS : JOB_LIMIT_MS;
  return {
    id: shot.aim.id,
    channel: shot.attack.policy ?? 'internet',
    data,
    attempts: 1,
    timeoutMs,
  };
}

function saidOf(outcome: { state: string; output?: unknown; error?: { code: string; message?: string } } | undefined): Said {
  if (outcome === undefined) return { died: 'there is no outcome' };
  if (outcome.state !== 'completed') return { ended: outcome.error?.code ?? outcome.state, error: outcome.error?.message ?? outcome.state };
  const said = typeof outcome.output === 'object' && outcome.output !== null ? (outcome.output as Said) : { said: String(outcome.output) };
  return { ...said, ended: 'completed' };
}

export async function pushJobs(grid: Grid, prefix: readonly string[], api: string, jobs: readonly unknown[]): Promise<void> {
  const file = join(grid.folder, 'jobs.ndjson');
  writeFileSync(file, jobs.map((job) => `${JSON.stringify(job)}\n`).join(''));
  const program = grid.start(['push', file, '--api', api], { prefix });
  const { code } = await program.ended;
  if (code !== 0) throw new Error(`jobs cannot be pushed: ${program.text.slice(-600)}`);
}

/** Waits for that many outcomes, or the end of the Worker. */
export async function untilOutcomes(grid: Grid, count: number, worker: Program): Promise<void> {
  const file = join(grid.folder, OUTCOMES);
  const there = () => existsSync(file) && grid.outcomes(OUTCOMES).length >= count;
  await until(
    () => !worker.running || there(),
    50,
    () => worker.text.slice(-2_000),
  );
  if (!worker.running && grid.outcomes(OUTCOMES).length < count) throw new Error(`the Worker ended: ${worker.text.slice(-2_000)}`);
}

/** The most that one of them took, in MiB. */
function watch(programs: readonly Program[]): { mb(): number; stop(): void } {
  let most = 0;
  const look = () => {
    for (const { pid } of programs) most = Math.max(most, residentMb(pid));
  };
  const timer = setInterval(look, 100);
  return { mb: () => most, stop: () => clearInterval(timer) };
}

export async function endWorker(worker: Program, { uid }: WorkerPlan, grid: Grid, harm: string[]): Promise<void> {
  worker.signal('SIGTERM');
  const { code, signal } = await worker.ended;
  if (code !== 0) harm.push(`the Worker ended with ${code ?? signal}: ${worker.text.slice(-600)}`);
  // What has left its Worker's process group still names the folder of its task.
  if (listNumbers('/proc').some((pid) => isTask(pid, grid.folder))) harm.push(`a process of a job of ${uid} is left`);
}

function isTask(pid: number, folder: string): boolean {
  try {
    const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    return line.includes(folder) && line.includes('child/task-process.js');
  } catch {
    return false;
  }
}

async function startsAgain(stage: Stage, grid: Grid, plan: WorkerPlan, token: string): Promise<string[]> {
  const worker = startWorker(stage, grid, plan, token);
  const started = await worker.line(/isolat|job.*sandbox|bubblewrap|own process/i).catch((error: Error) => error);
  const scratch = join(grid.folder, plan.name, '.peerwork/workers/1/scratch');
  // What an earlier life left is cleared away while it works already.
  const others = () => namesIn(scratch).filter((name) => !name.includes(`.${worker.pid}.`));
  await until(() => !worker.running || others().length === 0).catch(() => {});
  worker.signal('SIGTERM');
  const { code } = await worker.ended;
  if (started instanceof Error) return [`it does not start again: ${started.message.slice(-600)}`];
  const left = namesIn(scratch);
  return [
    ...(code === 0 ? [] : [`the second time it ended with ${code}`]),
    ...(left.length === 0 ? [] : [`left in its scratch folder: ${listed(scratch)}`]),
  ];
}

/** What is left there, by name, mode and owner. */
function listed(folder: string): string {
  return execFileSync('find', [folder, '-maxdepth', '3', '-printf', '%P %M %u, '], { encoding: 'latin1' }).slice(0, 600);
}
