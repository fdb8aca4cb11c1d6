import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { wishes } from './addresses.js';
import { type Attack, expectedOf, type Policy } from './attack.js';
import { channelAttacks, fillingAttacks, leavingAttacks } from './job-attacks.js';
import { conclude, type Finding } from './passes.js';
import { orderOf, takeAim } from './shots.js';
import type { Stage } from './stage.js';
import type { Said, Shot } from './verdict.js';
import {
  endWorker,
  LOOP_LIMIT_MS,
  loops,
  pushJobs,
  startWorker,
  targetOf,
  untilOutcomes,
  type WorkerReport,
  writeOther,
} from './worker-pass.js';

const NAME = 'container';
/** They do so little but wait that many may run at once. */
const BATCH_LIMIT_MS = 600_000;
const FILL_LIMIT_MS = 20_000;
const alone = (attack: Attack) => attack.name === '4,000 processes';

interface Batch {
  readonly id: string;
  readonly image: string;
  readonly network: (typeof wishes)[Policy];
  readonly shots: readonly Shot[];
}

/**
 * The same attacks as the programs of containers, from a real Master to a real Worker: many in one container, each in a process of its own. Those on the network are
 * run twice, in an image that is held by the firewall and in one that has the proxy's socket and nothing else; one that comes through either came through.
 */
export async function runContainers(stage: Stage, attacks: readonly Attack[]): Promise<WorkerReport> {
  const grid = stage.grid();
  const here = [...stage.inside(0)];
  try {
    const [plain, proxied] = await Promise.all([
      stage.lab.nodeImage(),
      stage.lab.nodeImage('peerwork-test/proxied:1', ['peerwork.egress=proxy']),
    ]);
    await grid.tracker(0, { prefix: here });
    const task = join(grid.folder, 'task-attacks');
    stage.copyTask(task);
    const command = ['node', '/peerwork/task/main.cjs', '/peerwork/input.json', '/peerwork/out/result.json'];
    const limits = { memoryMb: 512, pids: 400, diskMb: 64 };
    writeFileSync(join(task, 'task.json'), JSON.stringify({ runner: 'container', image: plain, command, limits }));
    const serving = [
      '--task',
      `attacks=${task}`,
      '--task',
      `other=${writeOther(grid)}`,
      '--http',
      '127.0.0.1:0',
      '--output',
      'outcomes.ndjson',
    ];
    const { program: master, token } = await grid.master(serving, { prefix: here });
    const [, api = ''] = /Dashboard: (http:\/\/\S+)\//.exec(await master.line(/Dashboard: /)) ?? [];
    const options = ['--containers', stage.lab.engine, '--pull', 'never', '--memory-mb', '512'];
    const plan = { name: NAME, tier: 'process', uid: 0 } as const;
    const worker = startWorker(stage, grid, plan, token, options, stage.lab.environment);
    await pushJobs(grid, here, api, [{ id: 'first', channel: 'other', data: null }]);
    await untilOutcomes(grid, 1, worker);
    const target = { ...targetOf(stage, grid, plan, worker, token), zone: 'eth0' };
    const direct = await takeAim(
      { ...target, name: `${NAME}-direct` },
      attacks.filter(({ group }) => group !== 'the way out'),
    );
    const byProxy = await takeAim(
      { ...target, name: `${NAME}-proxied` },
      attacks.filter(({ group }) => isNetwork(group)),
    );
    const leaving = await takeAim({ ...target, name: `${NAME}-leaving` }, leavingAttacks);
    const batches = [...batchesOf('direct', plain, direct), ...batchesOf('proxied', proxied, byProxy)];
    const channel = channelAttacks.filter((attack) => expectedOf(attack, 'container') !== 'n/a');
    const filling = [...fillingAttacks, ...channel].map((attack, index) => ({ attack, id: `fill-${index}` }));
    const jobs = [
      ...batches.map(jobOf),
      ...filling.map(({ attack, id }) => fillingJob(id, attack)),
      leavingJob(leaving),
      { id: 'last', channel: 'other', data: null },
    ];
    await pushJobs(grid, here, api, jobs);
    await untilOutcomes(grid, jobs.length + 1, worker);
    const outcomes = new Map(grid.outcomes('outcomes.ndjson').map((outcome) => [outcome.id, outcome]));
    const harm: string[] = [];
    for (const { id, shots } of batches) {
      const said = resultOf(outcomes.get(id));
      if (said === undefined) harm.push(`a batch was not run to its end: ${JSON.stringify(outcomes.get(id)).slice(0, 400)}`);
      for (const shot of shots) shot.said = said?.[shot.aim.id] ?? { died: 'nothing was said' };
    }
    if (outcomes.get('last')?.state !== 'completed') harm.push('an innocent job failed');
    const mounted = join(grid.folder, NAME, '.peerwork/workers/1/runners');
    await endWorker(worker, plan, grid, harm);
    const left = existsSync(mounted)
      ? readdirSync(mounted, { recursive: true, encoding: 'utf8' }).filter((path) => /jobs\/./.test(path))
      : [];
    if (left.length > 0) harm.push(`files of jobs are left: ${left.slice(0, 3)}`);
    const containers = await stage.lab.docker('ps', '-aq');
    if (containers !== '') harm.push(`containers are left: ${containers}`);
    const found = [...(await conclude(stage, [...direct, ...byProxy])), ...(await conclude(stage, leaving))];
    const filled = filling.map(({ attack, id }): Finding => {
      const outcome = outcomes.get(id);
      const said = resultOf(outcome) as Said | undefined;
      return {
        attack,
        through: attack.evidence === 'unbounded' && outcome?.state === 'completed' && said?.said === 'done',
        note: JSON.stringify(outcome).slice(0, 200),
      };
    });
    return { findings: [...joined(found), ...filled], harm };
  } finally {
    await grid.close();
  }
}

const isNetwork = (group: Attack['group']) => group === 'network' || group === 'network policy' || group === 'the way out';

function batchesOf(way: string, image: string, shots: readonly Shot[]): Batch[] {
  const batch = (id: string, network: Batch['network'], mine: readonly Shot[]) => ({ id: `${way}-${id}`, image, network, shots: mine });
  const of = (policy: Policy) => shots.filter(({ attack }) => (attack.policy ?? 'internet') === policy && !alone(attack));
  return [
    ...(['internet', 'none', 'hosts', 'lan'] as const).map((policy) => batch(policy, wishes[policy], of(policy))),
    batch(
      'alone',
      'none',
      shots.filter(({ attack }) => alone(attack)),
    ),
  ].filter((each) => each.shots.length > 0);
}

function jobOf({ id, image, network, shots }: Batch): unknown {
  const input = shots.map((shot) => ({ id: shot.aim.id, ...orderOf(shot) }));
  return { id, channel: 'attacks', data: { image, network, input }, attempts: 1, timeoutMs: BATCH_LIMIT_MS };
}

const one = ['node', '/peerwork/task/main.cjs', '--one', '/peerwork/input.json', '/peerwork/out/result.json'];

function fillingJob(id: string, attack: Attack): unknown {
  const { w } = attack;
  const limits = { memoryMb: 128, diskMb: 24, pids: 100 };
  // They are aimed at nothing.
  const input = { attack: attack.body, w: w?.({} as Parameters<typeof w>[0]) ?? {} };
  const timeoutMs = loops.test(attack.body) ? LOOP_LIMIT_MS : FILL_LIMIT_MS;
  return { id, channel: 'attacks', data: { input, limits, command: one, workdir: '/peerwork/out' }, attempts: 1, timeoutMs };
}

/** All of them leave what they leave in folders of the one that is mounted. */
function leavingJob(shots: readonly Shot[]): unknown {
  const input = shots.map((shot) => ({ id: shot.aim.id, ...orderOf(shot) }));
  const data = { input, env: { TMPDIR: '/peerwork/out' } };
  return { id: 'leaving', channel: 'attacks', data, attempts: 1, timeoutMs: BATCH_LIMIT_MS };
}

function resultOf(outcome: { state: string; output?: unknown } | undefined): Record<string, Said> | undefined {
  if (outcome?.state !== 'completed') return undefined;
  return (outcome.output as { result?: Record<string, Said> }).result;
}

/** Of an attack that was run twice, what came through. */
function joined(findings: readonly Finding[]): Finding[] {
  const byAttack = new Map<Attack, Finding>();
  for (const finding of findings) if (finding.through || !byAttack.has(finding.attack)) byAttack.set(finding.attack, finding);
  return [...byAttack.values()];
}
