/**
 * Which isolation this machine can give, and the command line that puts a program behind it.
 *
 * `process`: an own process and, where Linux has the tools, resource limits (prlimit) and an end together with the worker (setpriv). No wall against
 * malice. `bwrap`: inside bubblewrap, with its own pid, ipc, uts and net namespaces, and a file system that holds the room and little else.
 * docs/isolation.md says what each stops.
 */
import { PeerworkError } from '../errors.js';
import { bwrapWords, MAX_PROCESSES, type Manner } from './bwrap.js';
import { findBwrap } from './bwrap-tier.js';
import { asOwnUid, type Bounds, findBounds, findOwnUid, type OwnUid, reaches } from './process-tier.js';
import type { Room } from './room.js';
import { asCommand, type Command } from './tools.js';

export type { Room } from './room.js';
export { findTool } from './tools.js';

export interface SandboxWish {
  readonly sandbox: 'auto' | 'required' | 'off';
  /** How far the network must be held. In bubblewrap there is none anyway. Outside of it `deny` can be had from Node 25, and single `hosts` cannot. */
  readonly network: 'allow' | 'hosts' | 'deny';
  /** Memory of one program in MiB: the whole process, Node's own 45 MiB included. */
  readonly memoryMb: number;
  /** Bytes that it may leave on disk at a time. */
  readonly scratchBytes: number;
  /** Path of `bwrap`. */
  readonly bubblewrap: string;
  /** Where the rooms' own folders will lie: absolute, with links resolved. Default: anywhere. */
  readonly folder?: string;
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
const found = new Map<string, Promise<BwrapTier | ProcessTier>>();

/** Rejects with `sandbox-missing` if what is wished cannot be had. */
export async function findSandbox(wish: SandboxWish): Promise<Sandbox> {
  const { folder, ...rest } = wish;
  const key = JSON.stringify(rest);
  let finding = found.get(key);
  if (finding === undefined) {
    finding = findTier(rest);
    found.set(key, finding);
    finding.catch(() => found.delete(key));
  }
  const tier = await finding;
  return tier.name === 'bwrap' ? bwrapSandbox(wish, tier) : processSandbox(wish, tier);
}

interface BwrapTier {
  readonly name: 'bwrap';
  readonly bounds: Bounds;
  readonly manner: Manner;
}

interface ProcessTier {
  readonly name: 'process';
  readonly bounds: Bounds;
  readonly ownUid: OwnUid | undefined;
  /** Why there is no bubblewrap. */
  readonly why: string;
}

async function findTier(wish: SandboxWish): Promise<BwrapTier | ProcessTier> {
  const sizes = { dataBytes: (wish.memoryMb + DATA_HEADROOM_MB) * 1024 * 1024, fileBytes: wish.scratchBytes };
  const [bounds, bwrap] = await Promise.all([findBounds(sizes), wish.sandbox === 'off' ? { why: 'switched off' } : findBwrap(wish)]);
  if ('manner' in bwrap) return { name: 'bwrap', bounds, manner: bwrap.manner };
  const { why } = bwrap;
  if (wish.sandbox === 'required') throw new PeerworkError('sandbox-missing', `bubblewrap: ${why}`);
  if (wish.network === 'hosts' || (wish.network === 'deny' && !permissionCoversNetwork))
    throw new PeerworkError('sandbox-missing', `the network of jobs can be held only with bubblewrap (${why})`);
  return { name: 'process', bounds, why, ownUid: await findOwnUid() };
}

function processSandbox(wish: SandboxWish, { bounds, why, ...tier }: ProcessTier): Sandbox {
  const ownUid = tier.ownUid && (wish.folder === undefined || reaches(tier.ownUid, wish.folder)) ? tier.ownUid : undefined;
  const who = ownUid !== undefined ? 'own process and uid' : process.geteuid?.() === 0 ? 'own process, as root' : 'own process';
  return {
    tier: 'process',
    line: `${who}, Node permission model, ${wish.memoryMb} MiB a job, network ${wish.network === 'deny' ? 'denied' : 'not held'}; no wall against malicious code (bubblewrap: ${why})`,
    command: (room, program) => {
      const privileges = (ownUid && asOwnUid(ownUid, room)) ?? bounds.privileges;
      return asCommand([...bounds.sizes, ...privileges, ...program]);
    },
  };
}

function bwrapSandbox(wish: SandboxWish, { bounds, manner }: BwrapTier): Sandbox {
  const { uids, lastUserNamespace, filter, countsProcesses } = manner;
  const refusesNamespaces = lastUserNamespace || filter.length > 0;
  const walls = [
    filter.length > 0 ? 'bubblewrap + seccomp' : 'bubblewrap without seccomp',
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
    command: (room, program) => asCommand([...bounds.sizes, ...bwrapWords(wish.bubblewrap, manner, room), ...program]),
  };
}
