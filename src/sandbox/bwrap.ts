/** The command line of bubblewrap: the file system that a program sees, and the restrictions on it. */
import { chownSync, lstatSync, readlinkSync } from 'node:fs';
import { release } from 'node:os';
import { basename, join } from 'node:path';
import { byPrlimit, type Limits, MAX_PROCESSES, type ProgramAccess } from './limits.js';
import { FILTER_FD, openFilter } from './seccomp.js';
import { findTool } from './tools.js';
import type { Uids } from './uids.js';

/** Size limit in bytes of each in-memory folder: /tmp and /dev/shm. */
const MEMORY_FOLDER_BYTES = 16 * 1024 * 1024;
/** Folder of the tools that start the program inside. */
const TOOLS_FOLDER = '/peerwork/tools';
/** Capabilities that root keeps until it changes its uid: to enter a folder that is no longer its own, and to change its ids. */
const CAPABILITIES_TO_CHANGE = ['CAP_DAC_READ_SEARCH', 'CAP_SETUID', 'CAP_SETGID', 'CAP_SETPCAP'] as const;

/** How bubblewrap is used on this machine. */
export interface Manner {
  /**
   * Only for root: the mounts are made with root's rights, and the program then gets a uid of its own and no capabilities. Without it, or
   * for an ordinary user, a user namespace is created, and the program keeps the uid that started it: as root, the owner of root's files.
   */
  readonly uids: Uids | undefined;
  /** Whether further user namespaces are disabled, which bubblewrap 0.8 supports. With `uids` only the filter refuses them. */
  readonly lastUserNamespace: boolean;
  /** File with the seccomp filter, if there is one. */
  readonly filter: string | undefined;
  /** Whether at most `MAX_PROCESSES` are enforced; always the case with `uids`. */
  readonly countsProcesses: boolean;
}

export interface Bwrap {
  /** Path of `bwrap`. */
  readonly bubblewrap: string;
  readonly manner: Manner;
  readonly limits: Limits;
}

/** Returns the words in front of a program. With `uids` this transfers the room's folder to the program's uid. */
export function bwrapWords({ bubblewrap, manner, limits }: Bwrap, room: ProgramAccess): string[] {
  const { uids, filter } = manner;
  const starter = uids === undefined ? startInNamespace(manner, limits) : startAs(uids.take(), room.workdir, limits);
  const [tool] = starter.inside;
  const tools = tool === undefined ? [] : ['--ro-bind', tool, toolPath(tool)];
  const inside = tool === undefined ? [] : [toolPath(tool), ...starter.inside.slice(1)];
  const seccomp = filter === undefined ? [] : ['--seccomp', String(FILTER_FD)];
  const walls = [...starter.namespaces, ...seccomp, '--die-with-parent', '--new-session', '--clearenv'];
  const outside = filter === undefined ? byPrlimit(starter.outside) : openFilter(filter, starter.outside);
  return [...outside, bubblewrap, ...walls, ...contents(room, tools), '--', ...inside];
}

interface Starter {
  readonly outside: Limits;
  readonly namespaces: readonly string[];
  readonly inside: readonly string[];
}

/** The network namespace is empty: a program reaches only what a socket in its room offers. */
const namespaces = [
  '--unshare-net',
  '--unshare-pid',
  '--unshare-ipc',
  '--unshare-uts',
  '--unshare-cgroup-try',
  '--hostname',
  'job',
  '--cap-drop',
  'ALL',
];

function startAs(uid: number, workdir: string, limits: Limits): Starter {
  chownSync(workdir, uid, uid);
  const keep = CAPABILITIES_TO_CHANGE.flatMap((capability) => ['--cap-add', capability]);
  return {
    outside: { ...limits, processes: MAX_PROCESSES },
    namespaces: [...namespaces, ...keep],
    inside: [findTool('setpriv'), ...becomeUid(uid), '--'],
  };
}

/** Returns the options of setpriv that drop everything root has. */
export function becomeUid(uid: number): string[] {
  return ['--reuid', String(uid), '--regid', String(uid), '--clear-groups', '--no-new-privs', '--inh-caps=-all', '--bounding-set=-all'];
}

function startInNamespace({ lastUserNamespace, countsProcesses }: Manner, limits: Limits): Starter {
  const last = lastUserNamespace ? ['--disable-userns'] : [];
  return {
    outside: countsProcesses ? {} : limits,
    namespaces: ['--unshare-user', ...last, '--uid', '65534', '--gid', '65534', ...namespaces],
    // Set inside, where only the namespace's own processes are counted and not all of this user.
    inside: countsProcesses ? byPrlimit({ ...limits, processes: MAX_PROCESSES }) : [],
  };
}

/** Since Linux 5.14 RLIMIT_NPROC counts within a user namespace; before, it counted all processes of the user on the machine. */
export const countsInNamespace = isAtLeast(release(), 5, 14);

function isAtLeast(version: string, major: number, minor: number): boolean {
  const [own = 0, ownMinor = 0] = version.split('.').map(Number);
  return own > major || (own === major && ownMinor >= minor);
}

function toolPath(tool: string): string {
  return join(TOOLS_FOLDER, basename(tool));
}

function contents(room: ProgramAccess, tools: readonly string[]): string[] {
  const others = ['/usr/lib', join(TOOLS_FOLDER, 'tool'), room.workdir];
  const placed = [...[process.execPath, ...room.readable].map((path) => ({ source: path, target: path })), ...(room.placed ?? [])];
  const args = ['--tmpfs', '/', '--proc', '/proc', ...devices(), ...inMemory('/tmp')];
  args.push(...parents([...others, ...placed.map(({ target }) => target)]));
  for (const path of ['/usr/lib', '/usr/lib32', '/usr/lib64', '/lib', '/lib32', '/lib64', '/nix/store']) args.push(...bindSystem(path));
  for (const { source, target } of placed) args.push('--ro-bind', source, target);
  args.push(...tools, '--bind', room.workdir, room.workdir, '--remount-ro', '/', '--chdir', room.workdir);
  for (const [name, value] of Object.entries(room.environment)) args.push('--setenv', name, value);
  return args;
}

/** Returns the folders above these paths. Those that bubblewrap 0.8 creates by itself are accessible to root alone, if root starts it. */
function parents(paths: readonly string[]): string[] {
  const folders = new Set<string>();
  for (const path of paths) {
    const names = path.split('/').slice(1, -1);
    for (let count = 1; count <= names.length; count += 1) folders.add(`/${names.slice(0, count).join('/')}`);
  }
  return [...folders].flatMap((folder) => ['--dir', folder]);
}

/** Replaces bubblewrap's own `--dev`, which includes terminals and is a writable in-memory folder without a limit. */
function devices(): string[] {
  const nodes = ['null', 'zero', 'full', 'random', 'urandom'].flatMap((name) => ['--dev-bind', `/dev/${name}`, `/dev/${name}`]);
  return ['--dir', '/dev', ...nodes, '--symlink', '/proc/self/fd', '/dev/fd', ...inMemory('/dev/shm')];
}

function inMemory(path: string): string[] {
  return ['--perms', '1777', '--size', String(MEMORY_FOLDER_BYTES), '--tmpfs', path];
}

/** Returns arguments that reproduce a library folder as the link or the folder that it is on this machine. */
function bindSystem(path: string): string[] {
  try {
    return lstatSync(path).isSymbolicLink() ? ['--symlink', readlinkSync(path), path] : ['--ro-bind', path, path];
  } catch {
    return [];
  }
}
