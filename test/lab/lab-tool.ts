import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findTool } from './require.js';

/** A server program of the system, such as redis-server, in a temporary folder of its own, until it is stopped. */
export class LabTool {
  readonly #child: ChildProcess;
  readonly #folder = mkdtempSync(join(tmpdir(), 'peerwork-tool-'));
  #text = '';
  #waiting: (() => void)[] = [];

  constructor(tool: string, args: readonly string[]) {
    this.#child = spawn(findTool(tool) ?? tool, args, { cwd: this.#folder, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.on('data', (chunk) => {
        this.#text += String(chunk);
        this.#wake();
      });
    this.#child.once('exit', () => this.#wake());
  }

  /** Resolves once it has said this; fails if it ends before. */
  async said(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.#text)) {
      if (this.#child.exitCode !== null) throw new Error(`ended without saying ${pattern}:\n${this.#text}`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGKILL');
      await once(this.#child, 'exit');
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
