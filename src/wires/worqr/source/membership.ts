import type { Clock, Timer } from '../../../clock.js';
import type { PeerworkError } from '../../../errors.js';
import { jittered } from '../../../kit/backoff.js';
import type { Log } from '../../../log.js';
import { WorqrError } from '../errors.js';
import type { WorqrConnection } from './connection.js';
import { TWICE } from './endings.js';
import { isOf, WORKER_MARK } from './names.js';

const DOUBT_MS = 500;

export interface MembershipOptions {
  readonly connection: WorqrConnection;
  readonly worker: string;
  readonly queues: readonly string[];
  /** So long after its last beat a worker counts as dead. */
  readonly workerTimeoutMs: number;
  /** How often it looks for workers that are dead. */
  readonly sweepMs: number;
  readonly clock: Clock;
  readonly log: Log;
  /** The processes that run. */
  readonly running: () => readonly string[];
  /** The same, and those whose outcomes are on their way. */
  readonly held: () => ReadonlySet<string>;
  /** These are not ours any more. */
  readonly onLost: (processes: readonly string[]) => void;
  /** There may be work in any queue: we are registered, again perhaps, or have put something back. */
  readonly onJoined: () => void;
  readonly warning: (error: PeerworkError) => void;
}

/**
 * Being one of the workers of a prefix: registered, with a timer that each beat winds up, and an eye on the others.
 *
 * worqr takes a worker whose timer has run out for dead, and then puts back all tasks of its queues, also those that others hold. So each
 * beat asks which of our processes are still there; a lost one is stopped. If we are still registered when our own timer has run out
 * (Redis was away, say), nobody has swept us yet: the script winds it up again in the same step, and all goes on.
 */
export class Membership {
  readonly #options: MembershipOptions;
  #registered = false;
  #doubtful = false;
  #attending: Promise<void> | undefined;
  #beat: Timer | undefined;
  #sweep: Timer | undefined;
  #again: Timer | undefined;
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
      this.#sweep = clock.after(jittered(sweepMs, Math.random), () => void this.#lookForDead().finally(() => this.#closed || sweep()), {
        unref: true,
      });
    };
    beat();
    sweep();
  }

  /** A claim ended without an answer: whether it took something is found out. */
  doubt(): void {
    this.#doubtful = true;
    this.#askAgain();
  }

  /** A claim was told that we are no member. */
  wasFailed(): void {
    this.#registered = false;
    void this.attend();
  }

  attend(): Promise<void> {
    this.#attending ??= this.#attend().finally(() => {
      this.#attending = undefined;
    });
    return this.#attending;
  }

  /** Gives back what is still held, and signs off if Redis is there; the caller has stopped all runs. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#beat?.cancel();
    this.#sweep?.cancel();
    this.#again?.cancel();
    await this.#attending;
    const { connection, worker, log } = this.#options;
    if (connection.isUp)
      await connection.run('signOff', [worker]).catch((error: unknown) => log.debug('the sign-off was not heard', { error }));
  }

  async #attend(): Promise<void> {
    const { connection, worker, queues, workerTimeoutMs, onLost, onJoined, warning } = this.#options;
    if (this.#closed || !connection.isUp) return;
    try {
      if (this.#registered) {
        const running = this.#options.running();
        const lost = await connection.run('beat', [worker, workerTimeoutMs, ...running]);
        if (lost === null) {
          this.#registered = false;
          this.#options.log.warn('this worker is no longer registered in Redis: its runs are stopped, and it registers again', {
            hint: TWICE,
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
      if (this.#doubtful) await this.#settleDoubt();
    } catch (error) {
      if (connection.isUp) warning(refused(error));
      if (this.#doubtful) this.#askAgain();
    }
  }

  /** A beat may be far off. */
  #askAgain(): void {
    this.#again ??= this.#options.clock.after(
      DOUBT_MS,
      () => {
        this.#again = undefined;
        void this.attend();
      },
      { unref: true },
    );
  }

  /** What was claimed without our hearing of it goes back to the front: nobody has begun it. */
  async #settleDoubt(): Promise<void> {
    const { connection, worker, queues, held, onJoined } = this.#options;
    this.#doubtful = false;
    try {
      const all = await Promise.all(queues.map((queue) => connection.data.smembers(`${connection.prefix}:workingProcesses:${queue}`)));
      const known = held();
      const unknown = all.flat().filter((process) => isOf(worker, process) && !known.has(process));
      for (const process of unknown) await connection.run('putBack', [process, 'front', 'free']);
      if (unknown.length > 0) onJoined();
    } catch (error) {
      this.#doubtful = true;
      throw error;
    }
  }

  async #lookForDead(): Promise<void> {
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

export function refused(error: unknown): PeerworkError {
  return new WorqrError('worqr-refused', error instanceof Error ? error.message : String(error), { cause: error });
}
