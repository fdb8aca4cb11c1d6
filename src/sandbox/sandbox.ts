/**
 * Which isolation this machine can give, and the command line that puts a program behind it.
 *
 * `process`: an own process and, where Linux has the tools, resource limits (prlimit) and an end together with the worker (setpriv). No wall against
 * malice. `bwrap`: inside bubblewrap, with its own pid, ipc, uts and net namespaces, and a file system that holds the room and little else.
 * docs/isolation.md says what each stops.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PeerworkError } from '../errors.js';
import { bwrapWords, countsInNamespace, MAX_PROCESSES, type Manner } from './bwrap.js';
import { openFilter } from './filter-file.js';
import type { Room } from './room.js';
import { asCommand, type Command, findTool, tryOut, WORKED } from './tools.js';
import { findUids } from './uids.js';

export type { Room } from './room.js';
export { findTool } from './tools.js';

export interface SandboxWish {
  readonly sandbox: 'auto' | 'required' | 'off';
  readonly network: 'allow' | 'deny';
  /** Memory of one program in MiB: the whole process, Node's own 45 MiB included. */
  readonly memoryMb: number;
  /** Bytes that it may leave on disk at a time. */
  readonly scratchBytes: number;
  /** Path of `bwrap`. */
  readonly bubblewrap: string;
}

/** What was found, once, at the start. */
export interface Sandbox {
  readonly tier: 'process' | 'bwrap';
  /** One line for the owner, with what is missing. */
  readonly line: string;
  /** The command line that runs `program` in the room. Its first word must be a path that is in the room. */
  command(room: Room, program: readonly string[]): Command;
}

export const nodeMajor = Number(process.versions.node.split('.')[0]);
/** From Node 25 the permission model covers the network too. */
export const permissionCoversNetwork = nodeMajor >= 25;

/** Node must still start: measured floors of RLIMIT_DATA are below 100 MiB up to Node 22, but 600 MiB from 24. */
const DATA_HEADROOM_MB = nodeMajor >= 24 ? 800 : 320;

/** Looked for once a process: many Workers may live in one, and it takes some processes to find out. */
const found = new Map<string, Promise<Sandbox>>();

/** Rejects with `sandbox-missing` if what is wished cannot be had. */
export function findSandbox(wish: SandboxWish): Promise<Sandbox> {
  const key = JSON.stringify(wish);
  let sandbox = found.get(key);
  if (sandbox === undefined) {
    sandbox = lookForSandbox(wish);
    found.set(key, sandbox);
    sandbox.catch(() => found.delete(key));
  }
  return sandbox;
}

async function lookForSandbox(wish: SandboxWish): Promise<Sandbox> {
  const [limits, bwrap] = await Promise.all([findLimits(wish), wish.sandbox === 'off' ? { why: 'switched off' } : findBwrap(wish)]);
  if ('manner' in bwrap) return bwrapSandbox(wish, limits.sizes, bwrap.manner);
  const { why } = bwrap;
  if (wish.sandbox === 'required') throw new PeerworkError('sandbox-missing', `bubblewrap: ${why}`);
  if (wish.network === 'deny' && !permissionCoversNetwork)
    throw new PeerworkError('sandbox-missing', `the network can be denied only with bubblewrap (${why}) or Node 25`);
  return processSandbox(wish, [...limits.sizes, ...limits.privileges], why);
}

function processSandbox(wish: SandboxWish, limits: readonly string[], why: string): Sandbox {
  return {
    tier: 'process',
    line: `own process, Node permission model, ${wish.memoryMb} MiB a job, network ${wish.network}; no wall against malicious code (bubblewrap: ${why})`,
    command: (_room, program) => asCommand([...limits, ...program]),
  };
}

function bwrapSandbox(wish: SandboxWish, limits: readonly string[], manner: Manner): Sandbox {
  const { uids, lastUserNamespace, filter, countsProcesses } = manner;
  const refusesNamespaces = lastUserNamespace || filter.length > 0;
  const walls = [
    filter.length > 0 ? 'bubblewrap + seccomp' : 'bubblewrap without seccomp',
    uids !== undefined && 'own uid',
    refusesNamespaces && 'no user namespaces',
    countsProcesses && `${MAX_PROCESSES} processes`,
    wish.network === 'deny' && 'no network',
    `${wish.memoryMb} MiB a job`,
    'Node permission model',
  ];
  return {
    tier: 'bwrap',
    line: walls.filter((wall) => wall !== false).join(', '),
    command: (room, program) => asCommand([...limits, ...bwrapWords(wish.bubblewrap, manner, wish.network, room), ...program]),
  };
}

/** The strongest manner that works here, found by trying. */
async function findBwrap(wish: SandboxWish): Promise<{ readonly manner: Manner } | { readonly why: string }> {
  if (process.platform !== 'linux') return { why: 'Linux only' };
  if (!existsSync(wish.bubblewrap)) return { why: 'not installed' };
  let why = '';
  for (const manner of manners()) {
    const workdir = await mkdtemp(join(await realpath(tmpdir()), 'peerwork-trial-'));
    const words = bwrapWords(wish.bubblewrap, manner, wish.network, { workdir, readable: [], environment: {} });
    const program = [process.execPath, '-e', `require('fs').writeFileSync('file', ''); process.exit(${WORKED})`];
    const fault = await tryOut([...words, ...program]);
    await rm(workdir, { recursive: true, force: true });
    if (fault === undefined) return { manner };
    why = fault;
  }
  return { why };
}

function manners(): Manner[] {
  const uids = findUids();
  const filter = openFilter();
  const own: Manner[] =
    uids === undefined || filter.length === 0 ? [] : [{ uids, lastUserNamespace: false, filter, countsProcesses: true }];
  const shared: Manner[] = [];
  for (const opens of filter.length === 0 ? [[]] : [filter, []]) {
    for (const countsProcesses of countsInNamespace ? [true, false] : [false]) {
      for (const lastUserNamespace of [true, false]) shared.push({ uids: undefined, lastUserNamespace, filter: opens, countsProcesses });
    }
  }
  return [...own, ...shared];
}

interface Limits {
  readonly sizes: readonly string[];
  /** Not with bubblewrap, which needs its privileges to set up, and then does the same itself. */
  readonly privileges: readonly string[];
}

/** The words in front of a command that limit it, as far as this machine has the tools. */
async function findLimits(wish: SandboxWish): Promise<Limits> {
  if (process.platform !== 'linux') return { sizes: [], privileges: [] };
  const data = (wish.memoryMb + DATA_HEADROOM_MB) * 1024 * 1024;
  const prlimit = [findTool('prlimit'), '--core=0', `--data=${data}`, `--fsize=${wish.scratchBytes}`, '--'];
  const setpriv = [findTool('setpriv'), '--pdeathsig', 'KILL', '--no-new-privs', '--inh-caps=-all', '--bounding-set=-all', '--'];
  const meek = [findTool('setpriv'), '--pdeathsig', 'KILL', '--no-new-privs', '--'];
  const fits = async (words: readonly string[]) => (await tryOut([...words, '/bin/sh', '-c', `exit ${WORKED}`])) === undefined;
  const [sized, bound, meekly] = await Promise.all([fits(prlimit), fits(setpriv), fits(meek)]);
  return { sizes: sized ? prlimit : [], privileges: bound ? setpriv : meekly ? meek : [] };
}
