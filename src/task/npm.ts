import { spawn } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { redact } from '../log.js';
import { blankDescriptors } from '../sandbox/descriptors.js';
import { endWithThisProcess, hasEnded, killTree } from '../sandbox/processes.js';
import { abortError } from './flights.js';
import { NpmRoom, type NpmRoomOptions } from './npm-room.js';

export interface NpmOptions extends NpmRoomOptions {
  /** What npm's settings and its place are read from. Default: that of this process. */
  readonly environment?: NodeJS.ProcessEnv;
}

export interface NpmRun {
  /** All that npm can write to: where it works, and below it in `NPM_CACHE` what it keeps. Given to another user meanwhile where root gives npm one. */
  readonly cwd: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Install scripts may run: they find the system's programs in the room. Default false. */
  readonly scripts?: boolean;
  /** Names of the packages that it is about: credentials go with the scopes among them only. Default: any package. */
  readonly names?: readonly string[];
}

export interface NpmResult {
  /** What npm complained of in a few words; undefined if it succeeded. */
  readonly fault: string | undefined;
  readonly stdout: string;
}

/** In the folder that npm works in. Our own cache: a task cannot spoil the owner's. */
export const NPM_CACHE = '.npm-cache';
const MAX_FAULT_CHARS = 300;
const MAX_OUTPUT_BYTES = 8 * 1024 * 1024;
/** Nothing is installed from anywhere but a registry. Older npm does not know these flags, and says nothing of it at this level. */
const REGISTRY_ONLY = ['--allow-git=none', '--allow-remote=none', '--allow-file=none', '--allow-directory=none'];
const QUIET = ['--no-audit', '--no-fund', '--no-progress', '--no-update-notifier', '--loglevel=error', '--logs-max=0'];

/**
 * Runs npm to its end, behind the wall that jobs have: docs/tasks.md says what it sees. Rejects when the signal aborts, and with `sandbox-missing`; on abort,
 * and after the time is up, the whole process tree is killed.
 */
export async function runNpm(args: readonly string[], run: NpmRun, options: NpmOptions = {}): Promise<NpmResult> {
  const { signal } = run;
  const { environment = process.env } = options;
  if (signal.aborted) throw abortError(signal);
  const cli = findNpm(environment);
  if (cli === undefined) return { fault: 'npm was not found on this machine', stdout: '' };
  const cwd = await realpath(run.cwd);
  const room = await NpmRoom.open({ ...run, cwd, npmFolder: dirname(dirname(cli)), environment }, options);
  try {
    const program = [process.execPath, cli, ...args, ...REGISTRY_ONLY, ...QUIET, `--cache=${join(cwd, NPM_CACHE)}`, ...room.settings];
    return await runInRoom(room, program, { ...run, cwd });
  } finally {
    await room.close();
  }
}

async function runInRoom(room: NpmRoom, program: readonly string[], { cwd, timeoutMs, signal, scripts }: NpmRun): Promise<NpmResult> {
  const [file, ...args] = await room.command(program);
  if (signal.aborted) throw abortError(signal);
  const child = spawn(file, args, {
    cwd,
    env: room.environment,
    stdio: ['ignore', 'pipe', 'pipe', ...blankDescriptors(3)],
    // A process group of its own, to be killed as a whole.
    detached: process.platform !== 'win32',
    windowsHide: true,
  });
  const [stdout, stderr] = [collect(child.stdout), collect(child.stderr)];
  let timedOut = false;
  const kill = () => {
    if (child.pid !== undefined) killTree(child.pid);
  };
  const timer = setTimeout(() => {
    timedOut = true;
    kill();
  }, timeoutMs);
  signal.addEventListener('abort', kill, { once: true });
  // A script may have another way if one is closed.
  if (scripts !== true) room.refused.addEventListener('abort', kill, { once: true });
  if (child.pid !== undefined) endWithThisProcess(child.pid);
  const ended = await new Promise<string | number | null>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    // What a script has left running would keep the pipes open, and could write to the layer later.
    child.once('exit', kill);
    child.once('close', (code, by) => resolve(code ?? by));
  });
  clearTimeout(timer);
  signal.removeEventListener('abort', kill);
  if (child.pid !== undefined) hasEnded(child.pid);
  if (signal.aborted) throw abortError(signal);
  if (timedOut) return { fault: `npm did not finish within ${timeoutMs} ms`, stdout: stdout() };
  if (ended === 0) return { fault: undefined, stdout: stdout() };
  if (room.refused.aborted) return { fault: String(room.refused.reason), stdout: stdout() };
  return { fault: npmComplaint(stderr()) ?? npmComplaint(stdout()) ?? `npm failed: ${ended}`, stdout: stdout() };
}

/** What a stream brings, within a limit; the rest is read and dropped, so that its writer goes on. */
function collect(stream: Readable | null): () => string {
  const pieces: Buffer[] = [];
  let bytes = 0;
  stream?.on('data', (piece: Buffer) => {
    bytes += piece.length;
    if (bytes <= MAX_OUTPUT_BYTES) pieces.push(piece);
  });
  return () => Buffer.concat(pieces).toString();
}

/** The program that `npm` is here: npm of the PATH, else what came with this Node. */
/** npm's own program beside Node or on the PATH, as a file that Node can run. */
export function findNpm(environment: NodeJS.ProcessEnv): string | undefined {
  const path = environment['PATH'] ?? environment['Path'] ?? '';
  const node = dirname(process.execPath);
  const candidates = [
    // A link to it; or a script that lies beside it, or in the folder of modules below (Windows).
    ...path.split(delimiter).flatMap((folder) => [linkedFrom(join(folder, 'npm')), join(folder, 'node_modules/npm/bin/npm-cli.js')]),
    join(node, '../lib/node_modules/npm/bin/npm-cli.js'),
    join(node, 'node_modules/npm/bin/npm-cli.js'),
  ];
  const found = candidates.find((file) => file?.endsWith('npm-cli.js') === true && existsSync(file));
  return found === undefined ? undefined : realpathSync(found);
}

function linkedFrom(path: string): string | undefined {
  try {
    const real = realpathSync(path);
    return real.endsWith('npm-cli.js') ? real : join(dirname(real), 'npm-cli.js');
  } catch {
    return undefined;
  }
}

/** The lines of npm's output that say why. */
export function npmComplaint(output: string): string | undefined {
  const lines: string[] = [];
  for (const line of output.split('\n')) {
    const said = /^npm (?:error|ERR!) ?(.*)$/.exec(line.trim())?.[1]?.trim();
    if (said === undefined || said === '' || /^(?:A complete log|Log files|For a full report|errno|syscall|Run "npm help)/.test(said))
      continue;
    lines.push(said);
  }
  if (lines.length === 0) return undefined;
  const text = redact(
    lines
      .slice(0, 4)
      .join('; ')
      .replace(/\/\/[^\s/@]+@/g, '//'),
  );
  return text.length > MAX_FAULT_CHARS ? `${text.slice(0, MAX_FAULT_CHARS)}…` : text;
}
