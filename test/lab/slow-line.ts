import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { packageRoot } from './grid.js';

/** Debian packages that it needs, for `requireTools`; it also needs root. */
export const slowLineTools = { ip: 'iproute2', python3: 'python3' };

export interface LineOptions {
  /** Bandwidth from `near` to `far`, and back. Default: no limit. */
  readonly upMbit?: number;
  readonly downMbit?: number;
  /** One-way delay in milliseconds. Default 100. */
  readonly delayMs?: number;
  /** Capacity of the line's buffers in milliseconds of traffic. Default 2000. */
  readonly bufferMs?: number;
}

/** IP traffic that has passed, in bytes. */
export interface LineCount {
  readonly up: number;
  readonly down: number;
  readonly lostUp: number;
  readonly lostDown: number;
}

/** Two hosts (network namespaces) connected by a line as homes have it: slow, distant, and with a buffer in front. */
export class SlowLine {
  readonly #name = `pw${randomBytes(3).toString('hex')}`;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor({ upMbit = 0, downMbit = 0, delayMs = 100, bufferMs = 2_000 }: LineOptions) {
    for (const side of ['near', 'far'] as const) {
      execFileSync('ip', ['netns', 'add', this.#host(side)]);
      execFileSync('ip', ['-n', this.#host(side), 'link', 'set', 'lo', 'up']);
    }
    const ends = (['near', 'far'] as const).map((side) => `${this.#host(side)}=${this.address(side)}`);
    const rates = ['--up', upMbit, '--down', downMbit, '--delay-ms', delayMs, '--buffer-ms', bufferMs].map(String);
    this.#child = spawn('python3', [join(packageRoot, 'test/lab/line.py'), '--ends', ...ends, ...rates], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    if (this.#child.stdout === null) throw new Error('it has no stdout');
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  static async open(options: LineOptions): Promise<SlowLine> {
    const line = new SlowLine(options);
    if ((await line.#lines.next()).value !== 'READY') throw new Error('the line does not stand');
    return line;
  }

  address(side: 'near' | 'far'): string {
    return side === 'near' ? '10.78.0.1' : '10.78.0.2';
  }

  /** Command prefix that runs a program on that host. */
  inside(side: 'near' | 'far'): string[] {
    return ['ip', 'netns', 'exec', this.#host(side)];
  }

  count(): Promise<LineCount> {
    return this.#say('count');
  }

  cut(): Promise<LineCount> {
    return this.#say('cut');
  }

  mend(): Promise<LineCount> {
    return this.#say('mend');
  }

  async close(): Promise<void> {
    const ended = this.#child.exitCode === null ? once(this.#child, 'exit') : undefined;
    this.#child.kill('SIGKILL');
    await ended;
    for (const side of ['near', 'far'] as const) execFileSync('ip', ['netns', 'delete', this.#host(side)]);
  }

  async #say(word: string): Promise<LineCount> {
    this.#child.stdin?.write(`${word}\n`);
    const answer = await this.#lines.next();
    const [up = 0, down = 0, lostUp = 0, lostDown = 0] = String(answer.value).split(' ').map(Number);
    return { up, down, lostUp, lostDown };
  }

  #host(side: 'near' | 'far'): string {
    return `${this.#name}-${side}`;
  }
}
