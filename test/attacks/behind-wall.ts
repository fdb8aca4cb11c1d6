/**
 * A program that runs attacks behind bubblewrap, but without Node's permission model and without the preload that leads connections through the proxy, each in a
 * process of its own: `node behind-wall.js PLAN`. Stands for a job that has found a hole in Node.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PublicInternet } from '../../src/egress/addresses.js';
import { ceilingOf, effectivePolicy } from '../../src/egress/policy.js';
import { EgressProxy, PROXY_SOCKET } from '../../src/egress/proxy.js';
import { findSandbox, findTool } from '../../src/sandbox/sandbox.js';
import { ownersWords, wishes } from './addresses.js';
import type { Policy } from './attack.js';

interface Plan {
  readonly items: readonly { readonly id: string; readonly policy: Policy }[];
  readonly task: string;
  readonly folder: string;
  readonly result: string;
}

const plan = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as Plan;
const task = join(plan.folder, 'task');
cpSync(plan.task, task, { recursive: true });
const sandbox = await findSandbox({
  ...{ sandbox: 'required', network: 'allow', memoryMb: 512, scratchBytes: 64 * 1024 * 1024, bubblewrap: findTool('bwrap') },
});

async function run(policy: Policy): Promise<Record<string, unknown>> {
  const workdir = join(plan.folder, policy);
  mkdirSync(workdir);
  const [input, result] = [join(workdir, 'input.json'), join(workdir, 'result.json')];
  writeFileSync(input, JSON.stringify(plan.items.filter((item) => item.policy === policy)));
  const proxy = await EgressProxy.open({ policy: effectivePolicy(wishes[policy], ceilingOf(ownersWords)), internet: new PublicInternet() });
  const placed = [{ source: proxy.socketPath, target: PROXY_SOCKET }];
  const room = { workdir, readable: [task], placed, environment: { HOME: workdir, TMPDIR: workdir } };
  const [program, ...args] = sandbox.command(room, [process.execPath, join(task, 'main.cjs'), input, result]);
  // What it prints is nobody's business, and the seccomp filter comes by a descriptor that the command opens itself.
  const child = spawn(program, args, { cwd: workdir, stdio: ['ignore', 'inherit', 'inherit'], env: {} });
  await once(child, 'exit');
  await proxy.close();
  return JSON.parse(readFileSync(result, 'utf8')) as Record<string, unknown>;
}

const said: Record<string, unknown> = {};
for (const policy of ['internet', 'none', 'hosts', 'lan'] as const) Object.assign(said, await run(policy));
writeFileSync(plan.result, JSON.stringify(said));
