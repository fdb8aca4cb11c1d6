import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { removeFolder } from './remove-folder.js';
import { until } from './until.js';

export const packageRoot = fileURLToPath(new URL('../../..', import.meta.url));
const COMMAND = join(packageRoot, 'bin', 'peerwork.js');

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Command prefix, such as `ip netns exec NAME`. */
  readonly prefix?: readonly string[];
  readonly cwd?: string;
  /** Replaces the entry script, for example by `worker.js` in the package's root. */
  readonly script?: string;
}

/** One peerwork process, started through the real command line as a user would. */
export class Program {
  readonly lines: string[] = [];
  readonly ended: Promise<{ readonly code: number | null; readonly signal: string | null }>;
  readonly #child: ChildProcess;

  constructor(args: readonly string[], cwd: string, options: StartOptions) {
    const [file = process.execPath, ...before] = [...(options.prefix ?? []), process.execPath];
    this.#child = spawn(file, [...before, options.script ?? COMMAND, ...args], {
      cwd,
      env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      if (stream === null) continue;
      createInterface({ input: stream }).on('line', (line) => this.lines.push(line));
    }
    this.ended = new Promise((resolve) => this.#child.once('close', (code, signal) => resolve({ code, signal })));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get text(): string {
    return this.lines.join('\n');
  }

  /** Resolves with the first matching line, starting at index `from`. Fails if the program ends before. */
  async line(pattern: RegExp, from = 0): Promise<string> {
    let [found, next]: [string | undefined, number] = [undefined, from];
    const there = () => {
      while (found === undefined && next < this.lines.length) {
        const line = this.lines[next++] ?? '';
        if (pattern.test(line)) found = line;
      }
      return found !== undefined || !this.running;
    };
    await until(there, 10, () => `no line like ${pattern}:\n${this.text}`);
    if (found === undefined) throw new Error(`ended without a line like ${pattern}:\n${this.text}`);
    return found;
  }

  write(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Writes the text to the program's stdin and closes it. */
  end(text = ''): void {
    this.#child.stdin?.end(text);
  }

  signal(signal: NodeJS.Signals): void {
    if (this.running) this.#child.kill(signal);
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.signal(signal);
    await this.ended;
  }
}

/** A tracker, Masters and Workers in processes of their own, in a temporary folder, on loopback. */
export class Grid {
  readonly folder = mkdtempSync(join(tmpdir(), 'peerwork-grid-'));
  readonly programs: Program[] = [];
  #trackerUrl = '';

  get trackerUrl(): string {
    return this.#trackerUrl;
  }

  start(args: readonly string[], options: StartOptions = {}): Program {
    const program = new Program(args, options.cwd ?? this.folder, options);
    this.programs.push(program);
    return program;
  }

  /** Starts a tracker on loopback; a given port brings a killed one back. */
  async tracker(port = 0, options: StartOptions & { readonly host?: string } = {}): Promise<Program> {
    const program = this.start(['tracker', '--host', options.host ?? '127.0.0.1', '--port', String(port)], options);
    this.#trackerUrl = await program.line(/^ws:\/\//);
    return program;
  }

  /** Starts a Master that uses the tracker; resolves with its token once it has printed it. */
  async master(args: readonly string[], options: StartOptions = {}): Promise<{ readonly program: Program; readonly token: string }> {
    const program = this.start(['master', '--tracker', this.#trackerUrl, ...args], options);
    const line = await program.line(/pw1\.[\w-]+/);
    return { program, token: /pw1\.[\w-]+/.exec(line)?.[0] ?? '' };
  }

  /** Starts a Worker with a home of its own; the token is passed by environment. */
  worker(token: string, name: string, args: readonly string[] = [], options: StartOptions = {}): Program {
    const cwd = join(this.folder, name);
    mkdirSync(cwd, { recursive: true });
    return this.start(['worker', '--name', name, ...args], { cwd, ...options, env: { token, ...options.env } });
  }

  /** Parses the lines of a results file. */
  outcomes(
    file: string,
  ): { id: string; state: string; output?: unknown; error?: { code: string }; worker?: string; attempts: number; settlement?: number }[] {
    return readFileSync(join(this.folder, file), 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line));
  }

  /** Ends everything that this grid has started. */
  async close(): Promise<void> {
    await Promise.all(this.programs.map((program) => program.stop('SIGKILL')));
    await removeFolder(this.folder);
  }
}
