import type { Readable } from 'node:stream';
import { PeerworkError } from '../errors.js';

/** Output and exit code of a finished command. */
export interface CommandResult {
  readonly stdout: string;
  readonly stderr: string;
  /** Undefined if it was killed or could not be started. */
  readonly exitCode: number | undefined;
}

export interface CommandOptions {
  /** The command is killed after this time; default 60 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly input?: string;
  /** Receives each line of stdout and stderr as it arrives. */
  readonly onLine?: (line: string) => void;
}

/** A command that keeps running, with its output as streams. */
export interface OpenCommand {
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves with the exit code; undefined if the command was killed or could not be started. Never rejects. */
  readonly ended: Promise<number | undefined>;
  kill(): void;
}

const DEFAULT_TIMEOUT_MS = 60_000;
const MAX_OUTPUT_CHARS = 32 * 1024 * 1024;
const MAX_COMPLAINT_CHARS = 400;

/**
 * Our environment variables that the engine's command line may see: where programs are, which engine is meant, how to reach a registry. A
 * worker's token or a job's secrets are not among them.
 */
const allowedVariables = [
  /^(?:path|home|user|logname|lang|lc_all|tz|temp|tmp|tmpdir|userprofile|systemroot|windir|comspec|pathext|appdata|localappdata|programfiles)$/i,
  /^(?:docker|containers?|podman|buildah|xdg)_/i,
  /^(?:https?|all|no)_?proxy$/i,
  /^(?:ssh_auth_sock|dbus_session_bus_address|ssl_cert_file|ssl_cert_dir)$/i,
];

export function commandEnvironment(environment: NodeJS.ProcessEnv): Record<string, string> {
  const clean: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment))
    if (value !== undefined && allowedVariables.some((pattern) => pattern.test(name))) clean[name] = value;
  return clean;
}

/** A program of this machine with a clean environment: docker, podman, nft. */
export class CommandLine {
  readonly program: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Arguments in front of those of every command. */
  readonly #first: readonly string[];

  constructor(program: string, environment: NodeJS.ProcessEnv, first: readonly string[] = []) {
    this.program = program;
    this.#first = first;
    this.environment = commandEnvironment(environment);
  }

  /** Runs a command to its end, whatever the exit code. Never rejects. */
  async try(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    const { execa } = await loadExeca();
    const { onLine } = options;
    const child = execa(this.program, [...this.#first, ...args], {
      env: { ...this.environment },
      extendEnv: false,
      all: onLine !== undefined,
      ...(options.input === undefined ? { stdin: 'ignore' as const } : { input: options.input }),
      reject: false,
      detached: true,
      timeout: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
      killSignal: 'SIGKILL',
      maxBuffer: MAX_OUTPUT_CHARS,
      ...(options.signal !== undefined && { cancelSignal: options.signal }),
    });
    if (onLine !== undefined) for await (const line of child.iterable({ from: 'all' })) onLine(String(line));
    const { stdout, stderr, exitCode, shortMessage } = await child;
    return { stdout, stderr: stderr || (exitCode === undefined ? shortMessage : '') || '', exitCode };
  }

  /** Runs a command that must succeed, and resolves with its stdout; rejects with `engine-failed`. */
  async run(args: readonly string[], options: CommandOptions = {}): Promise<string> {
    const result = await this.try(args, options);
    if (result.exitCode !== 0) throw new PeerworkError('engine-failed', complaintOf(result.stderr));
    return result.stdout;
  }

  /**
   * Starts a command that runs as long as its container. It does not end with this process: containers outlive our restart, or the leash
   * removes them.
   */
  async open(args: readonly string[], folder: string): Promise<OpenCommand> {
    const { execa } = await loadExeca();
    const child = execa(this.program, [...this.#first, ...args], {
      env: { ...this.environment },
      extendEnv: false,
      cwd: folder,
      stdin: 'ignore',
      buffer: false,
      reject: false,
      // A group of its own: a Ctrl-C that drains the worker must not reach the container.
      detached: true,
      cleanup: false,
    });
    return {
      stdout: child.stdout,
      stderr: child.stderr,
      ended: child.then(({ exitCode }) => exitCode),
      kill: () => void child.kill('SIGKILL'),
    };
  }
}

/** Condenses an engine's error output into one short line. */
export function complaintOf(stderr: string): string {
  const text = stderr
    .split('\n')
    // Podman's log lines include the time: the same complaint would differ from one second to the next.
    .map((line) => line.trim().replace(/^time="[^"]*" level=\w+ msg="?(.*?)"?$/, '$1'))
    .filter((line) => line !== '' && !/^(?:See '|Run '|WARNING:|DEPRECATED)/.test(line))
    .map((line) => line.replace(/^(?:docker: |Error response from daemon: |Error: )+/, ''))
    .join('; ');
  return text.length > MAX_COMPLAINT_CHARS ? `${text.slice(0, MAX_COMPLAINT_CHARS)}…` : text || 'it did not say why';
}

/** Loaded lazily: it takes about 100 ms and 17 MB, and most workers run no container. */
function loadExeca(): Promise<typeof import('execa')> {
  return import('execa');
}
