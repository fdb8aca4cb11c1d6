import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import type { Clock } from '../clock.js';
import type { Job, Outcome, Progress } from '../job/job.js';
import { LOCAL_JSON, tryParseJson } from '../kit/json.js';
import { writeWhole } from '../kit/whole-file.js';
import type { Log } from '../log.js';
import { RunLog, type RunLogFacts } from './run-log.js';

export interface RunLogsOptions {
  readonly folder: string;
  /** Kind of the runner. */
  readonly kind: string;
  /** Limit of all logs together; 0 disables them. */
  readonly quotaBytes: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** A log on disk. */
export interface KeptLog extends RunLogFacts {
  /** Path without a file extension. */
  readonly path: string;
  readonly bytes: number;
}

/** Limit of one run; a smaller quota lowers it. */
const MAX_RUN_BYTES = 8 * 1024 * 1024;
const MAX_RUNS = 1_000;
const KEEP_MS = 30 * 86_400_000;

const shape = v.object({
  run: v.string(),
  kind: v.string(),
  channel: v.string(),
  attempt: v.number(),
  startedAt: v.number(),
  endedAt: v.optional(v.number()),
  ended: v.optional(v.string()),
});

/**
 * The output of containers, kept on this machine for `peerwork logs`: limited per run, in total, in number and in age. Those that began
 * longest ago are removed first; those of running jobs stay.
 */
export class RunLogs {
  readonly #options: RunLogsOptions;
  readonly #open = new Set<string>();
  #sweeping: Promise<void> = Promise.resolve();
  #faultReported = false;

  private constructor(options: RunLogsOptions) {
    this.#options = options;
  }

  static async open(options: RunLogsOptions): Promise<RunLogs> {
    const logs = new RunLogs(options);
    await mkdir(options.folder, { recursive: true, mode: 0o700 }).catch((error: unknown) => logs.#reportFault(error));
    // Nobody else writes here: a log without an end was interrupted.
    for (const { path, bytes: _, ...facts } of await listRunLogs(options.folder))
      if (facts.endedAt === undefined)
        await writeWhole(
          `${path}.json`,
          JSON.stringify({ ...facts, endedAt: Math.max(facts.startedAt, options.clock.wall()), ended: 'interrupted' }),
        ).catch((error: unknown) => logs.#reportFault(error));
    await logs.#sweep();
    return logs;
  }

  /** Records what `perform` reports about the job, and how that ended. */
  async keep(job: Job, report: (progress: Progress) => void, perform: (kept: KeptRun) => Promise<Outcome>): Promise<Outcome> {
    const { folder, kind, quotaBytes, clock } = this.#options;
    if (quotaBytes === 0) return perform({ report, learn: () => {} });
    const startedAt = clock.wall();
    const name = `${startedAt.toString(36).padStart(9, '0')}-${randomBytes(4).toString('hex')}`;
    const { id, channel, attempt } = job;
    this.#open.add(name);
    const log = new RunLog(
      { path: join(folder, name), maxBytes: Math.min(MAX_RUN_BYTES, quotaBytes / 2), clock, onFault: (error) => this.#reportFault(error) },
      { run: id, kind, channel, attempt, startedAt },
    );
    let ended = 'interrupted';
    try {
      const outcome = await perform({
        report: (progress) => {
          if (progress.kind === 'log') log.line(progress.stream, progress.line);
          report(progress);
        },
        learn: (env) => log.learn(env),
      });
      ended = outcome.state === 'failed' ? outcome.error.message : outcome.state;
      return outcome;
    } finally {
      await log.end(ended);
      this.#open.delete(name);
      this.#sweeping = this.#sweeping.then(() => this.#sweep());
    }
  }

  async close(): Promise<void> {
    await this.#sweeping;
  }

  async #sweep(): Promise<void> {
    const { folder, quotaBytes, clock } = this.#options;
    let [bytes, runs] = [0, 0];
    for (const each of (await listRunLogs(folder)).reverse()) {
      bytes += each.bytes;
      runs += 1;
      const old = Math.abs(clock.wall() - each.startedAt) > KEEP_MS;
      if ((!old && bytes <= quotaBytes && runs <= MAX_RUNS) || [...this.#open].some((name) => each.path === join(folder, name))) continue;
      for (const ending of ['log', 'log.1', 'json']) await rm(`${each.path}.${ending}`, { force: true }).catch(() => {});
      bytes -= each.bytes;
      runs -= 1;
    }
  }

  #reportFault(error: unknown): void {
    if (this.#faultReported) return;
    this.#faultReported = true;
    const hint = 'Free space on the disk, and make the home folder writable; jobs continue without stored output.';
    this.#options.log.warn('container output cannot be stored', { error, hint });
  }
}

/** Passed to a run whose output is kept. */
export interface KeptRun {
  readonly report: (progress: Progress) => void;
  /** Registers variables of its containers, some of which are secrets. */
  readonly learn: (env: Readonly<Record<string, string>>) => void;
}

/** Returns the logs in a folder, oldest first; none if there is no such folder. */
export async function listRunLogs(folder: string): Promise<KeptLog[]> {
  const found: KeptLog[] = [];
  for (const name of await readdir(folder).catch(() => [])) {
    if (!name.endsWith('.json')) continue;
    const path = join(folder, name.slice(0, -'.json'.length));
    const facts = await readRunLog(path);
    if (facts === undefined) continue;
    const sizes = await Promise.all(
      ['log', 'log.1'].map((ending) =>
        stat(`${path}.${ending}`).then(
          ({ size }) => size,
          () => 0,
        ),
      ),
    );
    found.push({ ...facts, path, bytes: sizes.reduce((sum, size) => sum + size, 512) });
  }
  return found.sort((a, b) => a.startedAt - b.startedAt || (a.path < b.path ? -1 : 1));
}

/** Returns the facts about one log; undefined if it is gone. */
export async function readRunLog(path: string): Promise<RunLogFacts | undefined> {
  const json = await readFile(`${path}.json`, 'utf8').catch(() => undefined);
  const read = json === undefined ? undefined : v.safeParse(shape, tryParseJson(json, LOCAL_JSON));
  return read?.success ? read.output : undefined;
}
