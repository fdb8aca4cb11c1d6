/**
 * Which isolation this machine can give, and the command line that puts a program behind it.
 *
 * `process`: an own process and, where Linux has the tools, resource limits (prlimit) and an end together with the worker (setpriv). No wall against
 * malice. `bwrap`: inside bubblewrap, with its own pid, ipc, uts and net namespaces, and a file system that holds the room and little else.
 * docs/isolation.md says what each stops.
 */
import { execFile } from 'node:child_process';
import { existsSync, lstatSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { PeerworkError } from '../errors.js';

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
  command(room: Room, program: readonly string[]): readonly [program: string, ...args: string[]];
}

/** What a program sees and may use. All paths are absolute, with links resolved. */
export interface Room {
  /** Its own folder: the only one that it can write to, and its working directory. */
  readonly workdir: string;
  /** Files and folders that it can read, besides Node and the system's libraries. */
  readonly readable: readonly string[];
  /** Files and folders that it finds elsewhere in the sandbox than they are; readable. In the tier process they stay where they are. */
  readonly placed?: readonly { readonly source: string; readonly target: string }[];
  /** All that it sees of the environment. */
  readonly environment: Readonly<Record<string, string>>;
}

export const nodeMajor = Number(process.versions.node.split('.')[0]);
/** From Node 25 the permission model covers the network too. */
export const permissionCoversNetwork = nodeMajor >= 25;

/** Node must still start: measured floors of RLIMIT_DATA are below 100 MiB up to Node 22, but 600 MiB from 24. */
const DATA_HEADROOM_MB = nodeMajor >= 24 ? 800 : 320;
const PROBE_MS = 5_000;
/** The whole line about isolation must fit into what a worker tells of itself: 200 characters. */
const MAX_REASON_CHARS = 90;

/** Looked for once a process: many Workers may live in one, and it takes four processes to find out. */
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
  const [limits, why] = await Promise.all([findLimits(wish), wish.sandbox === 'off' ? 'switched off' : probeBwrap(wish)]);
  if (why === undefined) return bwrapSandbox(wish, limits.sizes);
  if (wish.sandbox === 'required') throw new PeerworkError('sandbox-missing', `bubblewrap: ${why}`);
  if (wish.network === 'deny' && !permissionCoversNetwork)
    throw new PeerworkError('sandbox-missing', `the network can be denied only with bubblewrap (${why}) or Node 25`);
  return processSandbox(wish, [...limits.sizes, ...limits.privileges], why);
}

function processSandbox(wish: SandboxWish, limits: readonly string[], why: string): Sandbox {
  return {
    tier: 'process',
    line: `own process, Node permission model, ${wish.memoryMb} MiB a job, network ${wish.network}; no sandbox (bubblewrap: ${why})`,
    command: (_room, program) => compose([...limits, ...program]),
  };
}

function bwrapSandbox(wish: SandboxWish, limits: readonly string[]): Sandbox {
  return {
    tier: 'bwrap',
    line: `bubblewrap (own processes, files${wish.network === 'deny' ? ', no network' : ''}), Node permission model, ${wish.memoryMb} MiB a job`,
    command: (room, program) => compose([...limits, wish.bubblewrap, ...bwrapArguments(wish, room), ...program]),
  };
}

function compose(words: readonly string[]): readonly [string, ...string[]] {
  const [program, ...args] = words;
  return [program ?? process.execPath, ...args];
}

function bwrapArguments(wish: SandboxWish, room: Room): string[] {
  const args = ['--unshare-user', '--uid', '65534', '--gid', '65534', '--unshare-pid', '--unshare-ipc', '--unshare-uts'];
  args.push('--unshare-cgroup-try', '--hostname', 'job', '--cap-drop', 'ALL', '--die-with-parent', '--new-session', '--clearenv');
  if (wish.network === 'deny') args.push('--unshare-net');
  args.push('--tmpfs', '/', '--proc', '/proc', '--dev', '/dev', '--size', String(16 * 1024 * 1024), '--tmpfs', '/tmp');
  for (const path of ['/usr/lib', '/usr/lib32', '/usr/lib64', '/lib', '/lib32', '/lib64', '/nix/store']) args.push(...bindSystem(path));
  if (wish.network === 'allow') {
    for (const path of ['/etc/resolv.conf', '/etc/hosts', '/etc/nsswitch.conf']) args.push('--ro-bind-try', path, path);
  }
  for (const path of [process.execPath, ...room.readable]) args.push('--ro-bind', path, path);
  for (const { source, target } of room.placed ?? []) args.push('--ro-bind', source, target);
  args.push('--bind', room.workdir, room.workdir, '--remount-ro', '/', '--chdir', room.workdir);
  for (const [name, value] of Object.entries(room.environment)) args.push('--setenv', name, value);
  return [...args, '--'];
}

/** A library folder, as the link or the folder that it is here. */
function bindSystem(path: string): string[] {
  try {
    return lstatSync(path).isSymbolicLink() ? ['--symlink', readlinkSync(path), path] : ['--ro-bind', path, path];
  } catch {
    return [];
  }
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
  const fits = async (words: readonly string[]) => (await tryOut([...words, '/bin/sh', '-c', 'exit 7'])) === undefined;
  const [sized, bound, meekly] = await Promise.all([fits(prlimit), fits(setpriv), fits(meek)]);
  return { sizes: sized ? prlimit : [], privileges: bound ? setpriv : meekly ? meek : [] };
}

async function probeBwrap(wish: SandboxWish): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'Linux only';
  if (!existsSync(wish.bubblewrap)) return 'not installed';
  const room = { workdir: import.meta.dirname, readable: [], environment: {} };
  return tryOut([wish.bubblewrap, ...bwrapArguments(wish, room), process.execPath, '-e', 'process.exit(7)']);
}

/** The absolute path of a tool: children have no PATH. */
export function findTool(name: string): string {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/bin', '/bin', '/usr/sbin', '/sbin'];
  return folders.map((folder) => join(folder, name)).find((path) => path.startsWith('/') && existsSync(path)) ?? `/usr/bin/${name}`;
}

/** Runs a command that must exit with 7; answers with what went wrong. */
function tryOut(words: readonly string[]): Promise<string | undefined> {
  const [program, ...args] = compose(words);
  return new Promise((resolve) => {
    execFile(program, args, { timeout: PROBE_MS, killSignal: 'SIGKILL', env: {} }, (error, _stdout, stderr) => {
      if (error === null) return resolve('it does not run its command');
      if (error.code === 7) return resolve(undefined);
      resolve(stderr.split('\n')[0]?.slice(0, MAX_REASON_CHARS) || 'it fails');
    });
  });
}
