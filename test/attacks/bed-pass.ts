import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expectedOf } from './attack.js';
import type { BedPlan, BedResult } from './bed.js';
import { betweenAttacks, fillingAttacks } from './job-attacks.js';
import type { Finding } from './passes.js';
import { ENVIRONMENT_SECRET } from './shots.js';
import type { Stage } from './stage.js';
import type { WorkerPlan } from './worker-pass.js';

const bedProgram = fileURLToPath(new URL('./bed.js', import.meta.url));
const compact: ReadonlySet<string> = new Set(['the heap', 'buffers', 'the disk', 'the disk by one file']);
const LIMIT_MS = 900_000;

/** What is filled up, and what one job does to the next, in the runner for task modules. */
export async function runBed(stage: Stage, { name, tier, uid }: WorkerPlan): Promise<Finding[]> {
  const folder = stage.folderFor(join(`${name}-bed`, 'run'), uid);
  // Whose process it is makes no difference to most of these, which take long.
  const filling = fillingAttacks.filter((attack) => expectedOf(attack, tier) !== 'n/a' && (uid === 0 || compact.has(attack.name)));
  const plan: BedPlan = {
    sandbox: tier === 'bwrap' ? 'required' : 'off',
    task: stage.task,
    folder,
    filling: filling.map(({ body, w }, index) => ({
      id: `f${index}`,
      attack: body,
      w: (w?.(NOWHERE) ?? {}) as BedPlan['filling'][number]['w'],
    })),
    between: betweenAttacks.map(({ body }, index) => ({ id: `b${index}`, name: body })),
  };
  const [file, result] = [join(folder, 'plan.json'), join(folder, 'result.json')];
  writeFileSync(file, JSON.stringify(plan));
  const words = [...stage.inside(uid), process.execPath, '--enable-source-maps', bedProgram, file, result];
  const env = { PATH: process.env['PATH'], HOME: folder, OWNERS_SECRET: ENVIRONMENT_SECRET };
  const child = stage.spawn(words, { cwd: folder, env, stdio: ['ignore', 'inherit', 'inherit'] });
  const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
  await once(child, 'exit');
  clearTimeout(timer);
  if (!existsSync(result)) throw new Error(`the runner did not live to its end: ${name}`);
  const found = JSON.parse(readFileSync(result, 'utf8')) as BedResult;
  const finding = (attack: Finding['attack'], id: string): Finding => ({
    attack,
    through: found[id]?.through ?? true,
    note: found[id]?.note ?? 'nothing came of it',
  });
  return [
    ...filling.map((attack, index) => finding(attack, `f${index}`)),
    ...betweenAttacks.map((attack, index) => finding(attack, `b${index}`)),
  ];
}

/** Attacks of these groups aim at nothing in particular. */
const NOWHERE = {} as Parameters<NonNullable<Finding['attack']['w']>>[0];
