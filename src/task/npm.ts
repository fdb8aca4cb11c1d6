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
  /** Environment from which npm and its settings are found. Default: that of this process. */
  readonly environment?: NodeJS.ProcessEnv;
}

export interface NpmRun {
  /**
   * The only folder that npm can write to: its working folder, with its cache below it in `NPM_CACHE`. Where root gives npm a user of its
   * own, that user owns it during the run.
   */
  readonly cwd: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Whether install scripts may run; if so, the room contains the system's programs. Default false. */
  readonly scripts?: boolean;
  /** Names of the packages involved: only credentials of their scopes are passed. Default: any package. */
  readonly names?: readonly string[];
}

export interface NpmResult {
  /** npm's error in a few words; undefined if it succeeded. */
  readonly fault: string | undefined;
  readonly stdout: string;
}

/** npm's cache, inside its working folder. A cache of our own, so that a task cannot corrupt the owner's. */
export const NPM_CACHE = '.npm-cache';
const MAX_FAULT_CHARS = 300;
const MAX_OUTPUT_BYTES = 8 * 1024 * 1024;
/** Allows nothing but registries as a source. Older versions of npm do not know these flags, and do not warn at this log level. */
const REGISTRY_ONLY = ['--allow-git=none', '--allow-remote=none', '--allow-file=none', '--allow-directory=none'];
const QUIET = ['--no-audit', '--no-fund', '--no-progress', '--no-update-notifier', '--loglevel=error', '--logs-max=0'];

/**
 * Runs npm in the same sandbox as jobs; docs/tasks.md describes what it sees. Rejects when the signal aborts, and with `sandbox-missing`.
 * On abort and on time-out the whole process tree is killed.
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
    // Its own process group, so that it can be killed as a whole.
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
  // A script may have an alternative if one address is denied.
  if (scripts !== true) room.refused.addEventListener('abort', kill, { once: true });
  if (child.pid !== undefined) endWithThisProcess(child.pid);
  const ended = await new Promise<string | number | null>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    // Processes left by a script would keep the pipes open, and could write to the layer later.
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

/** Collects the output of a stream up to a limit; the rest is read and dropped, so that the writer is not blocked. */
function collect(stream: Readable | null): () => string {
  const pieces: Buffer[] = [];
  let bytes = 0;
  stream?.on('data', (piece: Buffer) => {
    bytes += piece.length;
    if (bytes <= MAX_OUTPUT_BYTES) pieces.push(piece);
  });
  return () => Buffer.concat(pieces).toString();
}

/** Finds npm on the PATH, or else next to this Node, and returns the script that Node can run. */
export function findNpm(environment: NodeJS.ProcessEnv): string | undefined {
  const path = environment['PATH'] ?? environment['Path'] ?? '';
  const node = dirname(process.execPath);
  const candidates = [
    // A link to it; or a script next to it, or in the modules folder below it (Windows).
    ...path.split(delimiter).flatMap((folder) => [resolveCli(join(folder, 'npm')), join(folder, 'node_modules/npm/bin/npm-cli.js')]),
    join(node, '../lib/node_modules/npm/bin/npm-cli.js'),
    join(node, 'node_modules/npm/bin/npm-cli.js'),
  ];
  const found = candidates.find((file) => file?.endsWith('npm-cli.js') === true && existsSync(file));
  return found === undefined ? undefined : realpathSync(found);
}

function resolveCli(path: string): string | undefined {
  try {
    const real = realpathSync(path);
    return real.endsWith('npm-cli.js') ? real : join(dirname(real), 'npm-cli.js');
  } catch {
    return undefined;
  }
}

/** Extracts the lines of npm's output that state the reason of a failure. */
export function npmComplaint(output: string): string | undefined {
  const lines: string[] = [];
  for (const line of output.split('\n')) {
    const complaint = /^npm (?:error|ERR!) ?(.*)$/.exec(line.trim())?.[1]?.trim();
    if (
      complaint === undefined ||
      complaint === '' ||
      /^(?:A complete log|Log files|For a full report|errno|syscall|Run "npm help)/.test(complaint)
    )
      continue;
    lines.push(complaint);
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
