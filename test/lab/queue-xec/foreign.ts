import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { removeFolder } from '../remove-folder.js';
import { until } from '../until.js';

export const TOKEN = 'a-room-of-the-tests-only';
export const KEY = '0123456789abcdef0123456789abcdef';

export interface ForeignResult {
  readonly jobID: unknown;
  readonly worker: { readonly name: string };
  readonly data: unknown;
}

/** A foreign process in a folder of its own, killed when the test ends. */
export class Foreign {
  readonly results: ForeignResult[] = [];
  readonly lines: string[] = [];
  handedOut = 0;
  port = 0;
  address = '';
  readonly #child: ChildProcess;
  readonly ended: Promise<unknown>;

  constructor(script: string, plan: object, cwd: string, netns?: string) {
    const file = fileURLToPath(new URL(script, import.meta.url));
    const options = { cwd, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] as ['ignore', 'pipe', 'pipe', 'ipc'] };
    const args = [JSON.stringify(plan)];
    this.#child =
      netns === undefined
        ? fork(file, args, { ...options, execArgv: [] })
        : spawn('ip', ['netns', 'exec', netns, process.execPath, file, ...args], options);
    this.ended = once(this.#child, 'exit');
    for (const stream of [this.#child.stdout, this.#child.stderr]) stream?.on('data', (text) => this.lines.push(String(text)));
    this.#child.on('message', (news: { ready?: { port: number; address: string }; result?: ForeignResult; handedOut?: number }) => {
      if (news.ready !== undefined) Object.assign(this, news.ready);
      if (news.result !== undefined) this.results.push(news.result);
      this.handedOut += news.handedOut ?? 0;
    });
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async ready(): Promise<this> {
    await until(() => this.port > 0 || !this.running, 10);
    if (this.port === 0) throw new Error(`it ended at once:\n${this.lines.join('')}`);
    return this;
  }

  tell(order: object): void {
    this.#child.send(order);
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.ended;
  }
}

/** Starts foreign peers, and at the end of the test stops them and removes their files. */
export function foreigners(t: Test) {
  const folder = mkdtempSync(join(tmpdir(), 'peerwork-queue-xec-'));
  const started: Foreign[] = [];
  t.teardown(async () => {
    await Promise.all(started.filter(({ running }) => running).map((each) => each.kill()));
    await removeFolder(folder);
  });
  const start = (script: string, plan: object, cwd = folder, netns?: string) => {
    const each = new Foreign(
      script,
      { token: TOKEN, key: KEY, folder: join(folder, 'torrents'), port: 0, lsd: false, ...plan },
      cwd,
      netns,
    );
    started.push(each);
    return each.ready();
  };
  return { folder, start };
}
