import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { removeFolder } from './remove-folder.js';
import { findTool } from './require.js';
import { until } from './until.js';

/** A server program of the system, such as redis-server, with a temporary folder of its own, until it is stopped. */
export class LabTool {
  readonly #child: ChildProcess;
  readonly #folder = mkdtempSync(join(tmpdir(), 'peerwork-tool-'));
  #text = '';

  constructor(tool: string, args: readonly string[]) {
    this.#child = spawn(findTool(tool) ?? tool, args, { cwd: this.#folder, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.on('data', (chunk) => {
        this.#text += String(chunk);
      });
  }

  /** Resolves once its output matches; fails if it ends before. */
  async said(pattern: RegExp): Promise<void> {
    const said = () => pattern.test(this.#text);
    await until(
      () => said() || this.#child.exitCode !== null,
      20,
      () => this.#text,
    );
    if (!said()) throw new Error(`ended without saying ${pattern}:\n${this.#text}`);
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGKILL');
      await once(this.#child, 'exit');
    }
    await removeFolder(this.#folder);
  }
}
