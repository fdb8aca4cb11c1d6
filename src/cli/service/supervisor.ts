import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type Clock, pause } from '../../clock.js';
import { Backoff } from '../../kit/backoff.js';
import { type MarkedProcess, markProcess, signalProcess } from '../../kit/process-mark.js';
import { removeTree } from '../../kit/remove-tree.js';
import { writeWhole } from '../../kit/whole-file.js';
import type { RotatingLog } from './rotating-log.js';
import { type SupervisorState, stateFile } from './supervisor-state.js';

export interface SupervisorOptions {
  /** Folder of the service, for the state file. */
  readonly folder: string;
  readonly command: readonly [file: string, ...args: string[]];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly drainMs: number;
  readonly log: RotatingLog;
  readonly clock: Clock;
}

const RESTART_FIRST_MS = 1_000;
const RESTART_CAP_MS = 60_000;
/** A Worker that lived this long was healthy: the restart delay starts over. */
const HEALTHY_MS = 60_000;
const LAST_LINES_MS = 3_000;
/** Added to the Worker's own drain time, for its last deliveries, in milliseconds. */
export const STOP_GRACE_MS = 15_000;

/**
 * Keeps one Worker running on machines without systemd: it is restarted after a pause of 1 s, doubling up to 60 s, until `stop`,
 * which lets it drain. A second `stop` makes it give back its jobs, and when the time is up it is killed. The Worker's output goes
 * to the log. The state file always lists the current processes, so that they can be found even if the supervisor itself is killed;
 * the Worker notices that by its channel and then drains (worker-main.ts).
 */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #stopping = new AbortController();
  #worker: { readonly child: ChildProcess; readonly marked: MarkedProcess | undefined } | undefined;
  #restarts = 0;
  #lastEnd: string | undefined;
  #stops = 0;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** Runs until it is stopped and the Worker has ended. */
  async run(): Promise<void> {
    const { clock, log, folder } = this.#options;
    const backoff = new Backoff({ firstMs: RESTART_FIRST_MS, capMs: RESTART_CAP_MS });
    while (!this.#stopping.signal.aborted) {
      const startedAt = clock.now();
      await this.#runWorker();
      if (this.#stopping.signal.aborted) break;
      if (clock.now() - startedAt >= HEALTHY_MS) backoff.reset();
      const waitMs = backoff.nextMs();
      log.say(`supervisor: the Worker ended (${this.#lastEnd}); it is started again in ${waitMs / 1_000} s`);
      await this.#writeState({ nextStartAt: clock.wall() + waitMs });
      await pause(clock, waitMs, this.#stopping.signal);
      this.#restarts += 1;
    }
    log.say('supervisor: stopped');
    await removeTree(stateFile(folder));
  }

  stop(): void {
    this.#stops += 1;
    this.#stopping.abort();
    const { child, marked } = this.#worker ?? {};
    if (child?.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGTERM');
    if (this.#stops > 1) return;
    const { clock, drainMs } = this.#options;
    clock.after(drainMs + STOP_GRACE_MS, () => marked && signalProcess(marked, 'SIGKILL', { group: true }), { unref: true });
  }

  async #runWorker(): Promise<void> {
    const { command, cwd, env, log } = this.#options;
    const [file, ...args] = command;
    // Its own process group, to be killed as a whole; the IPC channel shows it when we are gone.
    const child = spawn(file, args, { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    child.stdout?.on('data', (chunk: Buffer) => log.write(chunk));
    child.stderr?.on('data', (chunk: Buffer) => log.write(chunk));
    const written = new Promise<void>((resolve) => child.once('close', () => resolve()));
    const ended = once(child, 'exit').then(
      ([code, signal]) => (signal === null ? `exit code ${code}` : String(signal)),
      (error: Error) => error.message,
    );
    this.#worker = { child, marked: child.pid === undefined ? undefined : markProcess(child.pid) };
    await this.#writeState({});
    // `stop` was called just before there was a Worker to signal.
    if (this.#stopping.signal.aborted) child.kill('SIGTERM');
    this.#lastEnd = await ended;
    this.#worker = undefined;
    if (child.pid !== undefined) killGroup(child.pid);
    // Its last lines say why it ended and may arrive after its exit. Processes outside its group that hold its output open are not
    // waited for.
    const enough = new AbortController();
    await Promise.race([written, pause(this.#options.clock, LAST_LINES_MS, enough.signal)]);
    enough.abort();
    child.stdout?.destroy();
    child.stderr?.destroy();
  }

  async #writeState({ nextStartAt }: { nextStartAt?: number }): Promise<void> {
    const { folder, log } = this.#options;
    const own = markProcess(process.pid);
    if (own === undefined) return;
    const worker = this.#worker?.marked;
    const state: SupervisorState = {
      supervisor: own,
      restarts: this.#restarts,
      ...(worker !== undefined && { worker }),
      ...(this.#lastEnd !== undefined && { lastEnd: this.#lastEnd }),
      ...(nextStartAt !== undefined && { nextStartAt }),
    };
    const text = `${JSON.stringify(state)}\n`;
    await writeWhole(stateFile(folder), text).catch((error: Error) => log.say(`supervisor: ${error.message}`));
  }
}

/** Kills whatever a killed Worker has left in its process group. */
function killGroup(leader: number): void {
  try {
    process.kill(-leader, 'SIGKILL');
  } catch {
    // The group is empty.
  }
}
