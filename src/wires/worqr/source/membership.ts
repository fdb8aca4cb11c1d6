import type { Clock, Timer } from '../../../clock.js';
import type { PeerworkError } from '../../../errors.js';
import { jittered } from '../../../kit/backoff.js';
import type { Log } from '../../../log.js';
import { WorqrError } from '../errors.js';
import type { WorqrConnection } from './connection.js';
import { LOST_TASK_HINT } from './endings.js';
import { isOf, WORKER_MARK } from './names.js';

const RECHECK_MS = 500;

export interface MembershipOptions {
  readonly connection: WorqrConnection;
  readonly worker: string;
  readonly queues: readonly string[];
  /** Time since its last beat after which a worker counts as dead, in ms. */
  readonly workerTimeoutMs: number;
  /** Interval of the check for dead workers, in ms. */
  readonly sweepMs: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Processes that are running. */
  readonly running: () => readonly string[];
  /** Running processes, and those whose outcomes are not delivered yet. */
  readonly held: () => ReadonlySet<string>;
  /** Called with processes that this worker no longer holds. */
  readonly onLost: (processes: readonly string[]) => void;
  /** Called when any queue may have work: after (re-)registering, or after putting tasks back. */
  readonly onJoined: () => void;
  readonly warning: (error: PeerworkError) => void;
}

/**
 * This worker's registration among the workers of a prefix: keeps its timer alive with beats, and recovers the tasks of dead workers.
 *
 * worqr considers a worker dead when its timer has expired, and then puts back all tasks of its queues, including those held by others. So
 * each beat checks which of our processes still exist, and lost ones are stopped. If our timer has expired but we are still registered
 * (Redis was unreachable, for example), nobody has swept us yet: the script resets the timer in the same step, and the runs continue.
 */
export class Membership {
  readonly #options: MembershipOptions;
  #registered = false;
  #uncertain = false;
  #beating: Promise<void> | undefined;
  #beat: Timer | undefined;
  #sweep: Timer | undefined;
  #recheck: Timer | undefined;
  #closed = false;

  constructor(options: MembershipOptions) {
    this.#options = options;
  }

  get isRegistered(): boolean {
    return this.#registered;
  }

  start(): void {
    const { connection, clock, workerTimeoutMs, sweepMs } = this.#options;
    connection.data.on('ready', () => void this.attend());
    const beat = () => {
      this.#beat = clock.after(
        workerTimeoutMs / 3,
        () => {
          beat();
          void this.attend();
        },
        { unref: true },
      );
    };
    const sweep = () => {
      this.#sweep = clock.after(jittered(sweepMs, Math.random), () => void this.#recoverDead().finally(() => this.#closed || sweep()), {
        unref: true,
      });
    };
    beat();
    sweep();
  }

  /** Call when a claim failed without a reply; whether it took tasks is checked then. */
  suspectClaim(): void {
    this.#uncertain = true;
    this.#scheduleRecheck();
  }

  /** Call when a claim reported that this worker is not registered. */
  notRegistered(): void {
    this.#registered = false;
    void this.attend();
  }

  attend(): Promise<void> {
    this.#beating ??= this.#beatOnce().finally(() => {
      this.#beating = undefined;
    });
    return this.#beating;
  }

  /** Returns what is still held, and unregisters if Redis is reachable; the caller must have stopped all runs. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#beat?.cancel();
    this.#sweep?.cancel();
    this.#recheck?.cancel();
    await this.#beating;
    const { connection, worker, log } = this.#options;
    if (connection.isUp)
      await connection.run('signOff', [worker]).catch((error: unknown) => log.debug('the sign-off was not heard', { error }));
  }

  async #beatOnce(): Promise<void> {
    const { connection, worker, queues, workerTimeoutMs, onLost, onJoined, warning } = this.#options;
    if (this.#closed || !connection.isUp) return;
    try {
      if (this.#registered) {
        const running = this.#options.running();
        const lost = await connection.run('beat', [worker, workerTimeoutMs, ...running]);
        if (lost === null) {
          this.#registered = false;
          this.#options.log.warn('this worker is no longer registered in Redis: its runs are stopped, and it registers again', {
            hint: LOST_TASK_HINT,
          });
          onLost(running);
        } else if (Array.isArray(lost)) {
          onLost(lost.map(String));
        }
      }
      if (!this.#registered) {
        await connection.run('register', [worker, workerTimeoutMs, ...queues]);
        this.#registered = true;
        onJoined();
      }
      if (this.#uncertain) await this.#putBackUnknown();
    } catch (error) {
      if (connection.isUp) warning(refused(error));
      if (this.#uncertain) this.#scheduleRecheck();
    }
  }

  /** The next beat may be too far off. */
  #scheduleRecheck(): void {
    this.#recheck ??= this.#options.clock.after(
      RECHECK_MS,
      () => {
        this.#recheck = undefined;
        void this.attend();
      },
      { unref: true },
    );
  }

  /** Tasks claimed by a lost reply go back to the front of their queues, since nobody has started them. */
  async #putBackUnknown(): Promise<void> {
    const { connection, worker, queues, held, onJoined } = this.#options;
    this.#uncertain = false;
    try {
      const all = await Promise.all(queues.map((queue) => connection.data.smembers(`${connection.prefix}:workingProcesses:${queue}`)));
      const known = held();
      const unknown = all.flat().filter((process) => isOf(worker, process) && !known.has(process));
      for (const process of unknown) await connection.run('putBack', [process, 'front', 'free']);
      if (unknown.length > 0) onJoined();
    } catch (error) {
      this.#uncertain = true;
      throw error;
    }
  }

  async #recoverDead(): Promise<void> {
    const { connection, worker, log, warning } = this.#options;
    if (!connection.isUp) return;
    try {
      const others = (await connection.data.smembers(`${connection.prefix}:expiringWorkers`)).filter((other) => other !== worker);
      if (others.length === 0) return;
      const timers = await connection.data.mget(others.map((other) => `${connection.prefix}:workerTimers:${other}`));
      for (const dead of others.filter((_, at) => timers[at] === null)) {
        const back = Number(await connection.run('recover', [dead, WORKER_MARK]));
        if (back >= 0) log.info('a worker has died: its tasks are back in their queues', { worker: dead, tasks: back });
      }
    } catch (error) {
      if (connection.isUp) warning(refused(error));
    }
  }
}

/** Converts an error of Redis to `worqr-refused`. */
export function refused(error: unknown): PeerworkError {
  return new WorqrError('worqr-refused', error instanceof Error ? error.message : String(error), { cause: error });
}
