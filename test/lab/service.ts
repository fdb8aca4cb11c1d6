import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { markProcess } from '../../src/kit/process-mark.js';
import { packageRoot } from './grid.js';
import { removeFolder } from './remove-folder.js';

export interface Answer {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A folder of a Worker's owner in which commands are run; whatever keeps running for it ends with the test. */
export class OwnersFolder {
  readonly path: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #script: string;

  constructor(options: { readonly env?: Readonly<Record<string, string>>; readonly path?: string; readonly script?: string } = {}) {
    this.path = options.path ?? mkdtempSync(join(tmpdir(), 'peerwork-owner-'));
    mkdirSync(this.path, { recursive: true });
    this.#env = options.env ?? {};
    this.#script = options.script ?? join(packageRoot, 'bin', 'peerwork.js');
  }

  /** Runs one command line to completion. */
  type(...args: readonly string[]): Promise<Answer> {
    const child = this.begin(...args);
    const answer = { stdout: '', stderr: '' };
    child.stdout?.on('data', (chunk) => {
      answer.stdout += String(chunk);
    });
    child.stderr?.on('data', (chunk) => {
      answer.stderr += String(chunk);
    });
    return new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => resolve({ code, ...answer }));
    });
  }

  begin(...args: readonly string[]): ChildProcess {
    const env = { PATH: process.env['PATH'] ?? '', HOME: this.path, ...this.#env };
    return spawn(process.execPath, [this.#script, ...args], { cwd: this.path, env, stdio: ['ignore', 'pipe', 'pipe'] });
  }

  file(...parts: readonly string[]): string {
    return join(this.path, ...parts);
  }

  // biome-ignore lint/suspicious/noExplicitAny: an answer is looked into without end.
  async status(): Promise<any> {
    const { stdout, stderr } = await this.type('status', '--json');
    return stdout === '' ? { error: stderr } : JSON.parse(stdout);
  }

  /** Returns the living processes of the background keeper, from its state file. */
  processes(): number[] {
    const file = this.file('.peerwork', 'services', 'peerwork', 'supervisor.json');
    if (!existsSync(file)) return [];
    const { supervisor, worker } = JSON.parse(readFileSync(file, 'utf8'));
    return [supervisor, worker].filter((one) => one !== undefined && markProcess(one.pid)?.mark === one.mark).map(({ pid }) => pid);
  }

  async close(): Promise<void> {
    for (const pid of this.processes()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has just ended.
      }
    }
    await removeFolder(this.path);
  }
}
