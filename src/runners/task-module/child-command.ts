import { existsSync, lstatSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PRELOAD, PROXY_SOCKET } from '../../egress/proxy.js';
import { withoutInspector } from '../../sandbox/inspector.js';
import { nodeMajor, type ProgramAccess, permissionCoversNetwork, type Sandbox } from '../../sandbox/sandbox.js';

/** Files that a child may read, and limits that are passed to Node. */
export interface ChildWish {
  readonly workdir: string;
  readonly readable: readonly string[];
  readonly memoryMb: number;
  /** Enforced by Node alone, where that is supported. */
  readonly network: 'allow' | 'deny';
  /** In bubblewrap: the way out of the empty network namespace. */
  readonly proxySocket?: string;
}

const packageFolder = realpathSync(fileURLToPath(new URL('../../../..', import.meta.url)));
const childFolder = realpathSync(fileURLToPath(new URL('./child', import.meta.url)));
/** Location of the child's own code, as seen by the child. */
const places = {
  process: { packageFile: join(packageFolder, 'package.json'), childFolder },
  // Our own package.json must not be above the task's files: it would make ES modules of them.
  bwrap: { packageFile: '/peerwork/package.json', childFolder: '/peerwork/child' },
} as const;
/** `node:sqlite` of Node 22 and 24 opens files wherever its user may. Inside bubblewrap there is nothing to open. */
const sqliteIgnoresPermissions = process.allowedNodeEnvironmentFlags.has('--experimental-sqlite');
/** Stacks, code and buffers, in addition to V8's old generation. */
const HEAP_SHARE = 0.85;

/** Returns the command line of a child process, inside this machine's sandbox. */
export function childCommand(sandbox: Sandbox, wish: ChildWish): readonly [program: string, ...args: string[]] {
  const placed = [
    { source: places.process.packageFile, target: places.bwrap.packageFile },
    { source: places.process.childFolder, target: places.bwrap.childFolder },
    ...(wish.proxySocket === undefined ? [] : [PRELOAD, { source: wish.proxySocket, target: PROXY_SOCKET }]),
  ];
  const room: ProgramAccess = { workdir: wish.workdir, readable: wish.readable, placed, environment: childEnvironment(wish.workdir) };
  return sandbox.command(room, [process.execPath, ...nodeArguments(wish, sandbox.tier)]);
}

function nodeArguments(wish: ChildWish, tier: Sandbox['tier']): string[] {
  const own = places[tier];
  const reads = [own.packageFile, join(own.childFolder, '*'), join(wish.workdir, '*')];
  // Never `DIR` and `DIR/*` together: Node 20 aborts on the pair.
  for (const path of wish.readable) reads.push(isFolder(path) ? join(path, '*') : path);
  const preloads = wish.proxySocket === undefined ? [] : ['--require', PRELOAD.target];
  if (preloads.length > 0) reads.push(PRELOAD.target);
  return [
    nodeMajor >= 22 ? '--permission' : '--experimental-permission',
    ...reads.map((path) => `--allow-fs-read=${path}`),
    `--allow-fs-write=${join(wish.workdir, '*')}`,
    ...(permissionCoversNetwork && (wish.network === 'allow' || preloads.length > 0) ? ['--allow-net'] : []),
    ...withoutInspector,
    // V8 writes files if flags request it, and code may set flags at any time.
    '--freeze-flags-after-init',
    '--no-addons',
    // Node writes these files itself, by default into the job's current directory. A task's folder is readable and belongs to this user.
    `--diagnostic-dir=${wish.workdir}`,
    `--trace-event-file-pattern=${wish.workdir}/trace.\${rotation}.log`,
    ...(tier === 'process' && sqliteIgnoresPermissions ? ['--no-experimental-sqlite'] : []),
    '--disable-warning=ExperimentalWarning',
    '--disable-warning=SecurityWarning',
    `--max-old-space-size=${Math.max(16, Math.floor(wish.memoryMb * HEAP_SHARE))}`,
    ...preloads,
    // main.ts and what it imports, in one file: scripts/task-child.mjs.
    join(own.childFolder, 'task-process.js'),
  ];
}

/** Returns the complete environment of a child. */
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

function isFolder(path: string): boolean {
  return existsSync(path) && lstatSync(path).isDirectory();
}
