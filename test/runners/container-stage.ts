import { mkdir, mkdtemp, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Test } from 'tap';
import { systemClock } from '../../src/clock.js';
import type { Job, Json, Outcome, Progress } from '../../src/job/job.js';
import type { RunContext, Workplace } from '../../src/job/runner.js';
import { silentLog } from '../../src/log.js';
import { ContainerRunner, type ContainerRunnerOptions } from '../../src/runners/container/container-runner.js';
import { removeFolder } from '../lab/remove-folder.js';

export interface Wish extends Partial<Job> {
  /** Other files of the task, by path. */
  readonly assets?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  readonly context?: Partial<RunContext>;
}

/** A container runner for one test, with helpers for running ad-hoc tasks. */
export class ContainerStage {
  readonly runner: ContainerRunner;
  readonly folder: string;
  readonly reports: Progress[] = [];
  #tasks = 0;

  static async set(t: Test, options: ContainerRunnerOptions = {}, kept?: string): Promise<ContainerStage> {
    const folder = kept ?? (await mkdtemp(join(tmpdir(), 'peerwork-container-')));
    await mkdir(join(folder, 'runner'), { recursive: true, mode: 0o700 });
    const place = { worker: 'tester', concurrency: 4, memoryMb: 256, folder: join(folder, 'runner'), clock: systemClock, log: silentLog };
    const runner = await ContainerRunner.open({ pull: 'never', diskMb: 32, ...options }, place);
    t.teardown(async () => {
      await runner.close();
      const left = await readdir(join(folder, 'runner', 'jobs'));
      if (left.length > 0) throw new Error(`files of jobs are left: ${left}`);
      await removeFolder(folder);
    });
    return new ContainerStage(runner, folder);
  }

  private constructor(runner: ContainerRunner, folder: string) {
    this.runner = runner;
    this.folder = folder;
  }

  /** Runs a job of the task `task.json`. */
  async run(task: { readonly [key: string]: Json }, wish: Wish = {}): Promise<Outcome> {
    const { assets = {}, signal = new AbortController().signal, context = {}, ...job } = wish;
    const workplace = await this.#place({ ...assets, 'task.json': JSON.stringify({ runner: 'container', ...task }) });
    return this.runner.run(
      { id: 'a-job', channel: 'default', data: null, attempt: 1, timeoutMs: 60_000, ...job },
      { workplace, signal, report: (progress) => this.reports.push(progress), ...context },
    );
  }

  get lines(): string[] {
    return this.reports.flatMap((report) => (report.kind === 'log' ? [report.line] : []));
  }

  async #place(files: Readonly<Record<string, string>>): Promise<Workplace> {
    this.#tasks += 1;
    const folder = join(this.folder, 'tasks', String(this.#tasks));
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await writeFile(join(folder, path), text);
    }
    return { digest: folder, folder, entry: 'task.json', readable: [folder] };
  }
}

/** Returns the outcome in a form that is easy to compare. */
export function summary(outcome: Outcome): Json {
  if (outcome.state === 'completed') return outcome.output;
  return outcome.state === 'failed' ? { code: outcome.error.code, exitCode: outcome.error.exitCode ?? null } : outcome.state;
}
