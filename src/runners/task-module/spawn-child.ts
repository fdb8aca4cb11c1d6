import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, mkdirSync, openSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex, Readable } from 'node:stream';
import type { Clock } from '../../clock.js';
import type { Clearing } from '../../kit/clearing.js';
import { EXIT_KILLED } from '../../kit/exit-codes.js';
import { blankDescriptors } from '../../sandbox/descriptors.js';
import type { OomKills } from '../../sandbox/oom-kills.js';
import { endWithThisProcess, hasEnded, killTree } from '../../sandbox/processes.js';
import type { Sandbox } from '../../sandbox/sandbox.js';
import { FENCE_BYTES, Fence } from './child/fence.js';
import { ANSWER_FD, COMMAND_FD, FENCE_FD } from './child/wire.js';
import { type ChildWish, childCommand, childEnvironment } from './child-command.js';
import type { Exit } from './ending.js';

/** A process that escaped the kill may hold pipes open. */
const DRAIN_LIMIT_MS = 1_000;

/** A started process with its pipes, its fence and its folder. */
export interface Spawned {
  /** 0 if it did not start. */
  readonly pid: number;
  readonly workdir: string;
  /** Where files of its jobs are shown to it, read-only. */
  readonly filesFolder: string;
  readonly commands: Duplex;
  readonly answers: Readable;
  readonly stdout: Readable | null;
  readonly stderr: Readable | null;
  readonly fence: Fence;
  /** Resolves when the process has ended and its pipes are read to the end; the removal of its folder has then begun. */
  readonly ended: Promise<Exit>;
}

interface SpawnOptions {
  readonly sandbox: Sandbox;
  readonly oomKills: OomKills;
  readonly limits: Pick<ChildWish, 'memoryMb' | 'network' | 'proxySocket'>;
  readonly scratchFolder: string;
  readonly clock: Clock;
  /** Removes the folder when the process has ended. */
  readonly leftovers: Clearing;
  readonly readable: readonly string[];
  /** Called when the process itself has ended; the rest of its pipes is still to come. */
  readonly onExit: () => void;
}

export function spawnChild({ sandbox, oomKills, limits, scratchFolder, clock, leftovers, readable, onExit }: SpawnOptions): Spawned {
  const name = randomBytes(6).toString('hex');
  const workdir = join(scratchFolder, name);
  mkdirSync(workdir, { mode: 0o700 });
  // Not `${name}…`: Node 20 forgets that a folder may be read when another path that may be begins like it.
  const filesFolder = join(scratchFolder, `files-${name}`);
  // Entered by the user that the process runs as.
  mkdirSync(filesFolder, { mode: 0o755 });
  const fencePath = join(scratchFolder, `${name}.fence`);
  const fenceFd = openSync(fencePath, 'wx+', 0o600);
  unlinkSync(fencePath);
  ftruncateSync(fenceFd, FENCE_BYTES);
  const fence = new Fence(fenceFd);

  const [program, ...args] = childCommand(sandbox, { workdir, readable: [...readable, filesFolder], ...limits });
  const child = spawn(program, args, {
    cwd: workdir,
    env: childEnvironment(workdir),
    // Leads its own process group, so that all of it can be killed.
    detached: true,
    windowsHide: true,
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe', fenceFd, ...blankDescriptors(FENCE_FD + 1)],
  });
  const pid = child.pid ?? 0;
  if (pid !== 0) endWithThisProcess(pid);
  const ended = untilDrained(child, pid, clock, onExit).then(async (exit) => {
    hasEnded(pid);
    const begun = fence.begun();
    closeSync(fenceFd);
    for (const stream of child.stdio) stream?.destroy();
    await Promise.all([leftovers.add(workdir), leftovers.add(filesFolder)]);
    const amongOomKills = isKill(exit) && oomKills.more();
    return { ...exit, begun, amongOomKills };
  });
  const commands = child.stdio[COMMAND_FD] as unknown as Duplex;
  const answers = child.stdio[ANSWER_FD] as Readable;
  for (const stream of child.stdio) stream?.on('error', () => {});
  return { pid, workdir, filesFolder, commands, answers, stdout: child.stdout, stderr: child.stderr, fence, ended };
}

type End = Pick<Exit, 'code' | 'signal' | 'problem'>;

/** Whether the process was killed by SIGKILL, which bubblewrap reports as an exit code. */
function isKill({ code, signal }: End): boolean {
  return signal === 'SIGKILL' || code === EXIT_KILLED;
}

function untilDrained(child: ChildProcess, pid: number, clock: Clock, onExit: () => void): Promise<End> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve({ code: null, signal: null, problem: error.message }));
    child.once('exit', (code, signal) => {
      // Processes that the leader left behind are killed too.
      killTree(pid);
      onExit();
      const drained = () => {
        timer.cancel();
        resolve({ code, signal, problem: '' });
      };
      const timer = clock.after(DRAIN_LIMIT_MS, drained);
      child.once('close', drained);
    });
  });
}
