/**
 * Determines which isolation this machine offers, and builds the command line that puts a program behind it.
 *
 * `process`: a process of its own and, where Linux has the tools, resource limits (prlimit) and a process that ends with the worker
 * (setpriv). No wall against malicious code. `bwrap`: inside bubblewrap, with its own pid, ipc, uts and net namespaces, and a file system
 * that contains the room and little else. docs/isolation.md describes what each of them stops.
 */

import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { PeerworkError } from '../errors.js';
import { bwrapWords, countsInNamespace, type Manner } from './bwrap.js';
import { byPrlimit, type Limits, MAX_PROCESSES, type ProgramAccess } from './limits.js';
import { asOwnUid, type Bounds, findBounds, findOwnUid, inTrialRoom, type OwnUid, trial } from './process-tier.js';
import { sandboxRemedy } from './remedy.js';
import { filterFile } from './seccomp.js';
import { asCommand, type Command, tryOut } from './tools.js';
import { findUids } from './uids.js';

export type { ProgramAccess } from './limits.js';
export { findTool } from './tools.js';

export interface SandboxWish {
  readonly sandbox: 'auto' | 'required' | 'off';
  /**
   * How strictly the network must be restricted. In bubblewrap there is none anyway. Outside of it `deny` needs Node 25 or newer, and
   * `hosts` is not possible.
   */
  readonly network: 'allow' | 'hosts' | 'deny';
  /** Memory limit of one program in MiB, for the whole process, including Node's own 45 MiB. */
  readonly memoryMb: number;
  /** Bytes that it may use on disk. */
  readonly scratchBytes: number;
  /** Path of `bwrap`. */
  readonly bubblewrap: string;
  /**
   * Parent folder of the rooms. Not every file system allows root to give a folder to another user. Default: the folder for temporary
   * files.
   */
  readonly folder?: string;
}

/** The isolation found on this machine, once, at the start. */
export interface Sandbox {
  readonly tier: 'process' | 'bwrap';
  /** One line for the owner, including what is missing. */
  readonly line: string;
  /** In the tier `process`: one sentence about how to get a wall on this machine. */
  readonly remedy?: string;
  /** Returns the command line that runs `program` in the room. Its first word must be a path in the room. */
  command(room: ProgramAccess, program: readonly string[]): Command;
}

export const nodeMajor = Number(process.versions.node.split('.')[0]);
/** From Node 25 on the permission model covers the network too. */
export const permissionCoversNetwork = nodeMajor >= 25;

/** Node must still start: the measured minimum of RLIMIT_DATA is below 100 MiB up to Node 22, but 600 MiB from 24 on. */
const DATA_HEADROOM_MB = nodeMajor >= 24 ? 800 : 320;

/** Detected once per process: many Workers may share one, and detection spawns several processes. */
const found = new Map<string, Promise<Sandbox>>();

/** Rejects with `sandbox-missing` if the requested isolation is not available. */
export function findSandbox(wish: SandboxWish): Promise<Sandbox> {
  const key = JSON.stringify(wish);
  let sandbox = found.get(key);
  if (sandbox === undefined) {
    sandbox = detectSandbox(wish);
    found.set(key, sandbox);
    sandbox.catch(() => found.delete(key));
  }
  return sandbox;
}

async function detectSandbox(wish: SandboxWish): Promise<Sandbox> {
  const rooms = wish.folder ?? tmpdir();
  const sizes = { dataBytes: (wish.memoryMb + DATA_HEADROOM_MB) * 1024 * 1024, fileBytes: wish.scratchBytes };
  const [bounds, bwrap] = await Promise.all([
    findBounds(sizes),
    wish.sandbox === 'off' ? { why: 'switched off' } : findBwrap({ ...wish, rooms }),
  ]);
  if ('manner' in bwrap) return bwrapSandbox(wish, bounds.limits, bwrap.manner);
  const { why } = bwrap;
  if (wish.sandbox === 'required') throw new PeerworkError('sandbox-missing', `bubblewrap: ${why}`);
  if (wish.network === 'hosts' || (wish.network === 'deny' && !permissionCoversNetwork))
    throw new PeerworkError('sandbox-missing', `the network of jobs can be held only with bubblewrap (${why})`);
  return processSandbox(wish, bounds, why, await findOwnUid(rooms));
}

function processSandbox(wish: SandboxWish, { limits, privileges }: Bounds, why: string, ownUid: OwnUid | undefined): Sandbox {
  const who = ownUid !== undefined ? 'own process and uid' : process.geteuid?.() === 0 ? 'own process, as root' : 'own process';
  return {
    tier: 'process',
    remedy: wish.sandbox === 'off' ? 'Switch it on with `--sandbox auto`.' : sandboxRemedy(existsSync(wish.bubblewrap)),
    line: `${who}, Node permission model, ${wish.memoryMb} MiB a job, network ${wish.network === 'deny' ? 'denied' : 'not held'}; no wall against malicious code (bubblewrap: ${why})`,
    command: (room, program) => {
      const another = ownUid && asOwnUid(ownUid, limits, room);
      return asCommand([...(another ?? [...byPrlimit(limits), ...privileges]), ...program]);
    },
  };
}

function bwrapSandbox(wish: SandboxWish, limits: Limits, manner: Manner): Sandbox {
  const { uids, lastUserNamespace, filter, countsProcesses } = manner;
  const refusesNamespaces = lastUserNamespace || filter !== undefined;
  const walls = [
    filter !== undefined ? 'bubblewrap + seccomp' : 'bubblewrap without seccomp',
    uids !== undefined && 'own uid',
    refusesNamespaces && 'no user namespaces',
    countsProcesses && `${MAX_PROCESSES} processes`,
    'network by policy only',
    `${wish.memoryMb} MiB a job`,
    'Node permission model',
  ];
  return {
    tier: 'bwrap',
    line: walls.filter((wall) => wall !== false).join(', '),
    command: (room, program) => asCommand([...bwrapWords({ ...wish, manner, limits }, room), ...program]),
  };
}

interface BwrapWish {
  readonly bubblewrap: string;
  /** A folder like that of rooms. */
  readonly rooms: string;
}

/** Returns the strongest manner that works here, found by trying. */
async function findBwrap({ bubblewrap, rooms }: BwrapWish): Promise<{ readonly manner: Manner } | { readonly why: string }> {
  if (process.platform !== 'linux') return { why: 'Linux only' };
  if (!existsSync(bubblewrap)) return { why: 'not installed' };
  let why = '';
  for (const manner of manners()) {
    const fault = await inTrialRoom(rooms, (workdir) => {
      const words = bwrapWords({ bubblewrap, manner, limits: {} }, { workdir, readable: [import.meta.dirname], environment: {} });
      return tryOut([...words, process.execPath, '-e', trial(workdir)]);
    }).catch((error: Error) => error.message);
    if (fault === undefined) return { manner };
    why = fault;
  }
  return { why };
}

/**
 * Returns all manners, strongest first. Any bubblewrap that may create namespaces supports the last one, so its error explains why there
 * is none.
 */
function manners(): Manner[] {
  const uids = findUids();
  const filter = filterFile();
  // Without the filter nothing would prevent such a program from creating user namespaces.
  const asRoot = uids === undefined || filter === undefined ? [] : [{ uids, lastUserNamespace: false, filter, countsProcesses: true }];
  const inNamespace: Manner[] = [];
  for (const opens of filter === undefined ? [undefined] : [filter, undefined]) {
    for (const countsProcesses of countsInNamespace ? [true, false] : [false]) {
      for (const lastUserNamespace of [true, false])
        inNamespace.push({ uids: undefined, lastUserNamespace, filter: opens, countsProcesses });
    }
  }
  return [...asRoot, ...inNamespace];
}
