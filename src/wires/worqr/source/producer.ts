import type { PeerworkError } from '../../../errors.js';
import { asPeerworkError } from '../../../errors.js';
import type { Json } from '../../../job/job.js';
import { MESSAGE_LIMITS } from '../../../job/limits.js';
import { parseJson } from '../../../kit/json.js';
import { type OptionalPackages, optionalPackage } from '../../../kit/optional-package.js';
import { DEFAULT_PREFIX } from '../defaults.js';
import { WorqrError } from '../errors.js';
import { placeOf, WorqrConnection } from './connection.js';
import { refused } from './membership.js';
import { channelOf, checkPrefix, checkQueue, uniqueOf, type WorqrPlace } from './names.js';

export interface WorqrProducerOptions extends WorqrPlace {
  /** Hears what keeps it from being connected; it goes on trying. */
  readonly onWarning?: (error: PeerworkError) => void;
}

/** How a task ended, as its worker told. */
export interface WorqrDone {
  readonly workerId: string;
  /** Absent if there is none, or the task failed. */
  readonly result?: Json;
  /** Only from Workers of peerwork. */
  readonly error?: { readonly code: string; readonly message: string };
}

/** A task is a text, anything else becomes JSON. */
export type WorqrTask = Json;

interface Waiter {
  readonly task: string;
  readonly resolve: (done: WorqrDone) => void;
}

/**
 * Puts tasks into worqr queues, for workers of worqr and of peerwork alike. Each method rejects with `worqr-unreachable` or
 * `worqr-refused`; it connects by itself with the first.
 */
export class WorqrProducer {
  readonly #options: WorqrProducerOptions;
  readonly #prefix: string;
  readonly #waiting = new Map<string, Waiter[]>();
  #warning: PeerworkError | undefined;
  #connection: WorqrConnection | undefined;
  #up: Promise<WorqrConnection> | undefined;
  #closed = false;

  /** Throws `option-invalid`. */
  constructor(options: WorqrProducerOptions) {
    this.#options = options;
    this.#prefix = checkPrefix(options.prefix ?? DEFAULT_PREFIX);
    placeOf(options.url);
  }

  /** Adds one task, or several in their order. */
  async enqueue(queue: string, ...tasks: readonly WorqrTask[]): Promise<void> {
    if (tasks.length === 0) return;
    const prefix = this.#prefix;
    const texts = tasks.map(textOf);
    await this.#ask(queue, ({ data }) =>
      data
        .multi()
        .lpush(`${prefix}:queues:${queue}`, ...texts)
        .publish(channelOf(prefix, queue, 'work'), String(texts.length))
        .exec()
        .then((answers) => {
          // A full or read-only Redis refuses the commands one by one.
          for (const [error] of answers ?? [[new Error('the transaction was discarded')]]) if (error) throw error;
        }),
    );
  }

  /** false: an equal task is queued or runs already, in any queue. One script, unlike worqr's, which loses or doubles some. */
  async enqueueUnique(queue: string, task: WorqrTask): Promise<boolean> {
    const text = textOf(task);
    return (await this.#ask(queue, (connection) => connection.run('enqueueUnique', [queue, text, uniqueOf(text)]))) === 1;
  }

  /** How many tasks wait in the queue. */
  count(queue: string): Promise<number> {
    return this.#ask(queue, ({ data }) => data.llen(`${this.#prefix}:queues:${queue}`));
  }

  /** Removes waiting tasks that are equal to this, and asks workers to stop running ones. It may be added as a unique one again. Resolves with how many were waiting. */
  async cancel(queue: string, task: WorqrTask): Promise<number> {
    const text = textOf(task);
    return Number(await this.#ask(queue, (connection) => connection.run('cancel', [queue, text, uniqueOf(text)])));
  }

  /** Adds a task and waits until a worker is done with it. worqr tells by the text alone: of equal tasks the first to end answers the first to wait. */
  async run(queue: string, task: WorqrTask, signal?: AbortSignal): Promise<WorqrDone> {
    const text = textOf(task);
    const channel = this.#doneOf(queue);
    signal?.throwIfAborted();
    await this.#ask(queue, ({ listening }) => listening.subscribe(channel));
    signal?.throwIfAborted();
    const { done, giveUp } = this.#done(channel, text);
    const abort = () => giveUp(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    try {
      // Whichever is first to fail; what was added is not taken back.
      const [told] = await Promise.all([done, this.enqueue(queue, text)]);
      return told;
    } catch (error) {
      giveUp(error);
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  close(): void {
    this.#closed = true;
    this.#connection?.close();
  }

  async #ask<T>(queue: string, command: (connection: WorqrConnection) => Promise<T>): Promise<T> {
    checkQueue(queue);
    const connection = await this.#connected();
    try {
      return await command(connection);
    } catch (error) {
      // A connection that has just broken looks whole for a moment: only what Redis itself says is a refusal.
      if (error instanceof Error && error.name === 'ReplyError') throw refused(error);
      throw this.#warning ?? asPeerworkError(error, WorqrError.of('worqr-unreachable'));
    }
  }

  /** Both connections; once it was there, a command that finds it away says so at once. */
  #connected(): Promise<WorqrConnection> {
    this.#up ??= this.#connect().catch((error: unknown) => {
      this.#up = undefined;
      this.#connection?.close();
      throw this.#warning ?? asPeerworkError(error, WorqrError.of('worqr-unreachable'));
    });
    return this.#up;
  }

  async #connect(): Promise<WorqrConnection> {
    this.#connection ??= this.#open(await optionalPackage('ioredis'));
    const { data, listening } = this.#connection;
    if (this.#closed) throw new Error('the producer is closed');
    await Promise.all([data.connect(), listening.connect()]);
    return this.#connection;
  }

  #open(ioredis: OptionalPackages['ioredis']): WorqrConnection {
    const connection = new WorqrConnection(ioredis, this.#options, (error) => {
      this.#warning = error;
      this.#options.onWarning?.(error);
    });
    connection.listening.on('message', (channel: string, message: string) => this.#hear(channel, message));
    return connection;
  }

  #done(channel: string, task: string): { readonly done: Promise<WorqrDone>; readonly giveUp: (reason: unknown) => void } {
    let giveUp: (reason: unknown) => void = () => {};
    const done = new Promise<WorqrDone>((resolve, reject) => {
      const waiter: Waiter = { task, resolve };
      this.#waiting.set(channel, [...(this.#waiting.get(channel) ?? []), waiter]);
      giveUp = (reason) => {
        this.#forget(channel, waiter);
        reject(reason);
      };
    });
    return { done, giveUp };
  }

  #hear(channel: string, message: string): void {
    const told = readDone(message);
    const waiter = this.#waiting.get(channel)?.find(({ task }) => task === told?.task);
    if (told === undefined || waiter === undefined) return;
    this.#forget(channel, waiter);
    waiter.resolve(told.done);
  }

  #forget(channel: string, waiter: Waiter): void {
    this.#waiting.set(
      channel,
      (this.#waiting.get(channel) ?? []).filter((each) => each !== waiter),
    );
  }

  #doneOf(queue: string): string {
    return channelOf(this.#prefix, queue, 'done');
  }
}

function textOf(task: WorqrTask): string {
  return typeof task === 'string' ? task : JSON.stringify(task);
}

function readDone(message: string): { readonly task: string; readonly done: WorqrDone } | undefined {
  try {
    const { task, workerId, result, error } = parseJson(message, MESSAGE_LIMITS) as Readonly<Record<string, unknown>>;
    if (typeof task !== 'string' || typeof workerId !== 'string') return undefined;
    const failed = typeof error === 'object' && error !== null ? (error as Readonly<Record<string, unknown>>) : undefined;
    return {
      task,
      done: {
        workerId,
        ...(result !== undefined && { result: result as Json }),
        ...(failed !== undefined && { error: { code: String(failed['code']), message: String(failed['message']) } }),
      },
    };
  } catch {
    return undefined;
  }
}
