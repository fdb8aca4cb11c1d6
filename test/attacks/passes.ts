import { once } from 'node:events';
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Attack } from './attack.js';
import { ENVIRONMENT_SECRET, inventOwner, orderOf, type Target, takeAim } from './shots.js';
import type { Stage } from './stage.js';
import { cameThrough, type Said, type Shot } from './verdict.js';

/** One attack in one pass. */
export interface Finding {
  readonly attack: Attack;
  readonly through: boolean;
  /** What it said, for who wants to know why. */
  readonly note: string;
}

const wallProgram = fileURLToPath(new URL('./behind-wall.js', import.meta.url));
const PROGRAM_LIMIT_MS = 900_000;
/** Where an attack is to come through it is waited for, however busy the machine is; one that comes through does not wait. */
export const PATIENCE_MS = 30_000;

/** The same attacks in plain Node, as the same user, in the same network: what does not come through here shows nothing elsewhere. */
export async function runControl(stage: Stage, uid: number, attacks: readonly Attack[]): Promise<Finding[]> {
  const name = `control-${uid}`;
  const target = withoutWorker(stage, name, uid);
  const tried = attacks.filter(
    ({ control }) => control !== false && (control === 'root' ? uid === 0 : control === 'user' ? uid !== 0 : true),
  );
  const shots = await takeAim(target, tried);
  const folder = stage.folderFor(join(name, 'run'), uid);
  const [input, result] = [join(folder, 'input.json'), join(folder, 'result.json')];
  const proxy = shots[0]?.aim.paths.socket;
  writeFileSync(input, JSON.stringify(shots.map((shot) => controlOrder(shot, proxy))));
  const words = [...stage.inside(uid), process.execPath, join(stage.task, 'main.cjs'), input, result];
  await toItsEnd(stage, words, { cwd: folder, env: { PATH: process.env['PATH'], HOME: folder, TMPDIR: folder } });
  return findings(stage, shots, result);
}

/** Attacks on the way out meet a proxy without rules, which stands behind the socket of the machine. */
function controlOrder(shot: Shot, proxy: string | undefined): unknown {
  const order = orderOf(shot, PATIENCE_MS);
  return { id: shot.aim.id, ...order, w: shot.attack.group === 'the way out' ? { ...order.w, proxy } : order.w };
}

/** Behind bubblewrap alone: as if Node's permission model had fallen. */
export async function runBehindWall(stage: Stage, uid: number, attacks: readonly Attack[]): Promise<Finding[]> {
  const name = `wall-${uid}`;
  const target = withoutWorker(stage, name, uid);
  const tried = attacks.filter(({ wall }) => wall !== false);
  const shots = await takeAim(target, tried);
  const folder = stage.folderFor(join(name, 'run'), uid);
  const [plan, result] = [join(folder, 'plan.json'), join(folder, 'result.json')];
  const items = shots.map((shot) => ({ id: shot.aim.id, policy: shot.attack.policy ?? 'internet', ...orderOf(shot) }));
  writeFileSync(plan, JSON.stringify({ items, task: stage.task, folder, result }));
  await toItsEnd(stage, [...stage.inside(uid), process.execPath, '--enable-source-maps', wallProgram, plan], {
    cwd: folder,
    env: { PATH: process.env['PATH'], HOME: folder, OWNERS_SECRET: ENVIRONMENT_SECRET },
  });
  return findings(stage, shots, result);
}

function withoutWorker(stage: Stage, name: string, uid: number): Target {
  const home = stage.folderFor(join(name, 'home'), uid);
  const env = { PATH: process.env['PATH'], OWNERS_SECRET: ENVIRONMENT_SECRET };
  const words = [...stage.inside(uid), process.execPath, '-e', 'setInterval(() => {}, 1e6)'];
  const worker = stage.spawn(words, { stdio: 'ignore', env }).pid ?? 0;
  return { stage, name, uid, worker, owner: inventOwner(home, uid, worker), zone: 'wan' };
}

async function toItsEnd(stage: Stage, words: readonly string[], options: { cwd: string; env: NodeJS.ProcessEnv }): Promise<void> {
  const child = stage.spawn(words, { ...options, stdio: ['ignore', 'inherit', 'inherit'] });
  const timer = setTimeout(() => child.kill('SIGKILL'), PROGRAM_LIMIT_MS);
  await once(child, 'exit');
  clearTimeout(timer);
}

async function findings(stage: Stage, shots: readonly Shot[], result: string): Promise<Finding[]> {
  if (!existsSync(result)) throw new Error(`the attacks were not run to their end: ${result} is missing`);
  const said = JSON.parse(readFileSync(result, 'utf8')) as Record<string, Said>;
  for (const shot of shots) shot.said = said[shot.aim.id] ?? { died: 'nothing was said' };
  return conclude(stage, shots);
}

/** Once all have ended: a last look around, and what came of each. */
export async function conclude(stage: Stage, shots: readonly Shot[]): Promise<Finding[]> {
  await new Promise((resolve) => setTimeout(resolve, 300));
  await stage.rest(shots.map(({ aim }) => aim.listen).filter((port) => port > 0));
  return shots.map((shot) => ({
    attack: shot.attack,
    through: cameThrough(shot, stage.hits),
    note: JSON.stringify({ ...shot.said, cwd: undefined }).slice(0, 200),
  }));
}

/** A folder that a Worker of that user may use as its own. */
export function ownFolder(path: string, uid: number): string {
  mkdirSync(path, { recursive: true });
  chownSync(path, uid, uid);
  return path;
}

export function namesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}
