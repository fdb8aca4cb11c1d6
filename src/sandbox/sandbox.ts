/**
 * Which isolation this machine can give, and the command line that makes a child of it.
 *
 * `process`: an own process with Node's permission model, and, where Linux has the tools, resource limits (prlimit) and an
 * end together with the worker (setpriv). `bwrap`: the same inside bubblewrap, with its own pid, ipc, uts and (network
 * denied) net namespace, and a file system that holds the task and little else. docs/isolation.md says what each stops.
 */
import { execFile } from 'node:child_process';
import { existsSync, lstatSync, readlinkSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PeerworkError } from '../errors.js';

export interface SandboxWish {
  readonly sandbox: 'auto' | 'required' | 'off';
  readonly network: 'allow' | 'deny';
  /** Memory of one job in MiB: the whole process, Node's own 45 MiB included. */
  readonly memoryMb: number;
  /** Bytes that one job may leave on disk at a time. */
  readonly scratchBytes: number;
  /** Path of `bwrap`. */
  readonly bubblewrap: string;
}

/** What was found, once, at the start. */
export interface Sandbox {
  readonly tier: 'process' | 'bwrap';
  /** One line for the owner, with what is missing. */
  readonly line: string;
  command(room: ChildRoom): readonly [program: string, ...args: string[]];
}

/** The paths of one child, links resolved. */
export interface ChildRoom {
  readonly workdir: string;
  readonly readable: readonly string[];
}

const nodeMajor = Number(process.versions.node.split('.')[0]);
const packageFolder = realpathSync(fileURLToPath(new URL('../../../..', import.meta.url)));
const childFolder = realpathSync(fileURLToPath(new URL('./child', import.meta.url)));
/** Where the code of the child process itself lies, as the child sees it. */
const hostRoom = { packageFile: join(packageFolder, 'package.json'), childFolder };
/** In the sandbox our own package.json must not stand above the task's files: it would make ES modules of them. */
const sandboxRoom = { packageFile: '/peerwork/package.json', childFolder: '/peerwork/child' };

/** From Node 25 the permission model covers the network too. */
const permissionCoversNetwork = nodeMajor >= 25;

/** Node must still start: measured floors of RLIMIT_DATA are below 100 MiB up to Node 22, but 600 MiB from 24. */
const DATA_HEADROOM_MB = nodeMajor >= 24 ? 800 : 320;
/** Stacks, code and buffers beside V8's old generation. */
const HEAP_SHARE = 0.85;
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
    command: (room) => compose([...limits, process.execPath, ...nodeArguments(wish, room, hostRoom)]),
  };
}

function bwrapSandbox(wish: SandboxWish, limits: readonly string[]): Sandbox {
  return {
    tier: 'bwrap',
    line: `bubblewrap (own processes, files${wish.network === 'deny' ? ', no network' : ''}), Node permission model, ${wish.memoryMb} MiB a job`,
    command: (room) =>
      compose([...limits, wish.bubblewrap, ...bwrapArguments(wish, room), process.execPath, ...nodeArguments(wish, room, sandboxRoom)]),
  };
}

function compose(words: readonly string[]): readonly [string, ...string[]] {
  const [program, ...args] = words;
  return [program ?? process.execPath, ...args];
}

function nodeArguments(wish: SandboxWish, room: ChildRoom, own: typeof hostRoom): string[] {
  const reads = [own.packageFile, join(own.childFolder, '*'), join(room.workdir, '*')];
  // Never `DIR` and `DIR/*` together: Node 20 aborts on the pair.
  for (const path of room.readable) reads.push(isFolder(path) ? join(path, '*') : path);
  return [
    nodeMajor >= 22 ? '--permission' : '--experimental-permission',
    ...reads.map((path) => `--allow-fs-read=${path}`),
    `--allow-fs-write=${join(room.workdir, '*')}`,
    ...(permissionCoversNetwork && wish.network === 'allow' ? ['--allow-net'] : []),
    '--disable-warning=ExperimentalWarning',
    '--disable-warning=SecurityWarning',
    `--max-old-space-size=${Math.max(16, Math.floor(wish.memoryMb * HEAP_SHARE))}`,
    join(own.childFolder, 'main.js'),
  ];
}

function bwrapArguments(wish: SandboxWish, room: ChildRoom): string[] {
  const args = ['--unshare-user', '--uid', '65534', '--gid', '65534', '--unshare-pid', '--unshare-ipc', '--unshare-uts'];
  args.push('--unshare-cgroup-try', '--hostname', 'job', '--cap-drop', 'ALL', '--die-with-parent', '--new-session', '--clearenv');
  if (wish.network === 'deny') args.push('--unshare-net');
  args.push('--tmpfs', '/', '--proc', '/proc', '--dev', '/dev', '--size', String(16 * 1024 * 1024), '--tmpfs', '/tmp');
  for (const path of ['/usr/lib', '/usr/lib32', '/usr/lib64', '/lib', '/lib32', '/lib64', '/nix/store']) args.push(...bindSystem(path));
  if (wish.network === 'allow') {
    for (const path of ['/etc/resolv.conf', '/etc/hosts', '/etc/nsswitch.conf']) args.push('--ro-bind-try', path, path);
  }
  for (const path of [process.execPath, ...room.readable]) args.push('--ro-bind', path, path);
  args.push('--ro-bind', hostRoom.packageFile, sandboxRoom.packageFile, '--ro-bind', childFolder, sandboxRoom.childFolder);
  args.push('--bind', room.workdir, room.workdir, '--remount-ro', '/', '--chdir', room.workdir);
  for (const [name, value] of Object.entries(childEnvironment(room.workdir))) args.push('--setenv', name, value);
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

/** All that a child ever sees of the environment. */
export function childEnvironment(workdir: string): Record<string, string> {
  const environment: Record<string, string> = { HOME: workdir, TMPDIR: workdir };
  for (const name of ['LANG', 'LC_ALL', 'TZ', 'NODE_ENV']) {
    const value = process.env[name];
    if (value !== undefined) environment[name] = value;
  }
  // Windows cannot start a process without it.
  const systemRoot = process.env['SystemRoot'];
  if (process.platform === 'win32' && systemRoot !== undefined) environment['SystemRoot'] = systemRoot;
  return environment;
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
  const workdir = dirname(childFolder);
  return tryOut([wish.bubblewrap, ...bwrapArguments(wish, { workdir, readable: [] }), process.execPath, '-e', 'process.exit(7)']);
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

function isFolder(path: string): boolean {
  return existsSync(path) && lstatSync(path).isDirectory();
}
