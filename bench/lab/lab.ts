import { type ChildProcess, fork, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { removeFolder } from '../../test/lab/remove-folder.js';
import { type Answer, END, type Question, type Verbs } from './child.js';

/** The folder of the package; compiled, this file lies three folders below it. */
export const packageRoot = fileURLToPath(new URL('../../../', import.meta.url));

const ASK_LIMIT_MS = 300_000;
const END_LIMIT_MS = 5_000;

export interface LabOptions {
  /** Every child leaves a CPU profile here. */
  readonly profileFolder?: string;
  /** The package that is measured: this one, or another checkout that is built. */
  readonly root?: string;
}

/** What one benchmark starts and leaves behind on disk: all of it is gone after `close`. */
export class Lab {
  readonly folder = mkdtempSync(join(tmpdir(), 'peerwork-bench-'));
  /** Where the programs come from that it starts. */
  readonly root: string;
  readonly #options: LabOptions;
  readonly #ends: (() => Promise<void>)[] = [];
  #folders = 0;

  constructor(options: LabOptions = {}) {
    this.#options = options;
    this.root = options.root ?? packageRoot;
  }

  makeFolder(name: string): string {
    this.#folders += 1;
    const folder = join(this.folder, `${this.#folders}-${name}`);
    mkdirSync(folder);
    return folder;
  }

  /** What is to be ended with the lab; the latest is ended first. */
  onClose(end: () => Promise<void>): void {
    this.#ends.push(end);
  }

  /** Starts `bench/lab/<script>.ts`, which serves these verbs. */
  start<V extends Verbs>(script: string, options: { readonly label?: string } = {}): Child<V> {
    const { profileFolder } = this.#options;
    const profiled =
      profileFolder === undefined
        ? []
        : ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`, `--cpu-prof-name=${this.#profileName(options.label ?? script)}`];
    const child = new Child<V>(
      script,
      fork(join(this.root, 'build', 'bench', 'lab', `${script}.js`), {
        cwd: this.folder,
        execArgv: ['--expose-gc', ...profiled],
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      }),
    );
    this.onClose(() => child.end());
    return child;
  }

  /** Any other program; ended with SIGTERM. */
  spawn(command: string, args: readonly string[], options: SpawnOptions = {}): ChildProcess {
    const child = spawn(command, args, { cwd: this.folder, ...options });
    this.onClose(() => endProcess(child));
    return child;
  }

  async close(): Promise<void> {
    for (const end of this.#ends.splice(0).reverse()) await end();
    await removeFolder(this.folder);
  }

  #profileName(label: string): string {
    this.#folders += 1;
    return `${label}-${this.#folders}.cpuprofile`;
  }
}

/** SIGTERM, and SIGKILL if that is not enough. */
export async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), END_LIMIT_MS);
  await gone;
  clearTimeout(timer);
}

/** The benchmark's side of a child process. */
export class Child<V extends Verbs> {
  readonly pid: number;
  readonly #process: ChildProcess;
  readonly #script: string;
  readonly #open = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>();
  #questions = 0;

  constructor(script: string, child: ChildProcess) {
    this.#script = script;
    this.#process = child;
    this.pid = child.pid ?? 0;
    child.on('message', (answer: Answer) => {
      const asked = this.#open.get(answer.id);
      this.#open.delete(answer.id);
      if (answer.error === undefined) asked?.resolve(answer.result);
      else asked?.reject(new Error(`${script}: ${answer.error}`));
    });
    child.on('error', () => {});
    child.on('exit', (code, signal) => this.#ended(`${script} ended (${signal ?? code})`));
  }

  ask<K extends keyof V & string>(verb: K, args: Parameters<V[K]>[0], limitMs = ASK_LIMIT_MS): Promise<Awaited<ReturnType<V[K]>>> {
    this.#questions += 1;
    const id = this.#questions;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${this.#script}: no answer to ${verb} within ${limitMs} ms`)), limitMs);
      const settled =
        <T>(then: (value: T) => void) =>
        (value: T) => {
          clearTimeout(timer);
          then(value);
        };
      this.#open.set(id, { resolve: settled(resolve as (result: unknown) => void), reject: settled(reject) });
      if (this.#process.connected) this.#process.send({ id, verb, args } satisfies Question);
      else this.#ended(`${this.#script} is not running`);
    });
  }

  async end(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = once(this.#process, 'exit');
    if (this.#process.connected) this.#process.send({ id: 0, verb: END, args: undefined } satisfies Question, () => {});
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), END_LIMIT_MS);
    await gone;
    clearTimeout(timer);
  }

  #ended(why: string): void {
    const open = [...this.#open.values()];
    this.#open.clear();
    for (const { reject } of open) reject(new Error(why));
  }
}
