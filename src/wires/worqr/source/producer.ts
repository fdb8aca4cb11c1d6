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
import { channelOf, checkPrefix, checkQueue, uniqueOf } from './names.js';
import type { WorqrPlace } from './options.js';

export interface WorqrProducerOptions extends WorqrPlace {
  /** Called with each connection error; the producer keeps reconnecting. */
  readonly onWarning?: (error: PeerworkError) => void;
}

/** How a task ended, as its worker reported it. */
export interface WorqrDone {
  readonly workerId: string;
  /** Absent if there is no result, or the task failed. */
  readonly result?: Json;
  /** Sent only by Workers of peerwork. */
  readonly error?: { readonly code: string; readonly message: string };
}

/** A task: text as it is, any other value as JSON. */
export type WorqrTask = Json;

interface Waiter {
  readonly task: string;
  readonly resolve: (done: WorqrDone) => void;
}

/**
 * Adds tasks to worqr queues, for workers of worqr and of peerwork alike. Methods reject with `worqr-unreachable` or `worqr-refused`; the
 * first call connects.
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

  /** Adds tasks in the given order, in one transaction. */
  async enqueue(queue: string, ...tasks: readonly WorqrTask[]): Promise<void> {
    if (tasks.length === 0) return;
    const prefix = this.#prefix;
    const texts = tasks.map(textOf);
    await this.#run(queue, ({ data }) =>
      data
        .multi()
        .lpush(`${prefix}:queues:${queue}`, ...texts)
        .publish(channelOf(prefix, queue, 'work'), String(texts.length))
        .exec()
        .then((replies) => {
          // A Redis that is full or read-only rejects the commands individually.
          for (const [error] of replies ?? [[new Error('the transaction was discarded')]]) if (error) throw error;
        }),
    );
  }

  /**
   * Resolves with false if an equal task is queued or running, in any queue. A single script, unlike worqr's own, which loses or duplicates
   * some.
   */
  async enqueueUnique(queue: string, task: WorqrTask): Promise<boolean> {
    const text = textOf(task);
    return (await this.#run(queue, (connection) => connection.run('enqueueUnique', [queue, text, uniqueOf(text)]))) === 1;
  }

  /** Returns the number of tasks waiting in the queue. */
  count(queue: string): Promise<number> {
    return this.#run(queue, ({ data }) => data.llen(`${this.#prefix}:queues:${queue}`));
  }

  /**
   * Removes equal tasks that are waiting and asks workers to stop running ones; the task may be added as unique again. Resolves with the
   * number removed.
   */
  async cancel(queue: string, task: WorqrTask): Promise<number> {
    const text = textOf(task);
    return Number(await this.#run(queue, (connection) => connection.run('cancel', [queue, text, uniqueOf(text)])));
  }

  /**
   * Adds a task and waits until a worker is done with it. worqr identifies tasks by their text alone, so of equal tasks the first to end
   * resolves the first caller.
   */
  async run(queue: string, task: WorqrTask, signal?: AbortSignal): Promise<WorqrDone> {
    const text = textOf(task);
    const channel = this.#doneChannel(queue);
    signal?.throwIfAborted();
    await this.#run(queue, ({ listening }) => listening.subscribe(channel));
    signal?.throwIfAborted();
    const { done, abandon } = this.#waitFor(channel, text);
    const abort = () => abandon(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    try {
      // Whichever fails first rejects; a task that was added is not removed.
      const [reported] = await Promise.all([done, this.enqueue(queue, text)]);
      return reported;
    } catch (error) {
      abandon(error);
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  close(): void {
    this.#closed = true;
    this.#connection?.close();
  }

  async #run<T>(queue: string, command: (connection: WorqrConnection) => Promise<T>): Promise<T> {
    checkQueue(queue);
    const connection = await this.#connected();
    try {
      return await command(connection);
    } catch (error) {
      // A connection that has just broken still looks ready for a moment, so only a reply of Redis itself counts as a refusal.
      if (error instanceof Error && error.name === 'ReplyError') throw refused(error);
      throw this.#warning ?? asPeerworkError(error, WorqrError.of('worqr-unreachable'));
    }
  }

  /** Resolves with the connection when both of its sockets are ready. Once connected, commands fail at once while Redis is unreachable. */
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
    connection.listening.on('message', (channel: string, message: string) => this.#onMessage(channel, message));
    return connection;
  }

  #waitFor(channel: string, task: string): { readonly done: Promise<WorqrDone>; readonly abandon: (reason: unknown) => void } {
    let abandon: (reason: unknown) => void = () => {};
    const done = new Promise<WorqrDone>((resolve, reject) => {
      const waiter: Waiter = { task, resolve };
      this.#waiting.set(channel, [...(this.#waiting.get(channel) ?? []), waiter]);
      abandon = (reason) => {
        this.#forget(channel, waiter);
        reject(reason);
      };
    });
    return { done, abandon };
  }

  #onMessage(channel: string, message: string): void {
    const reported = readDone(message);
    const waiter = this.#waiting.get(channel)?.find(({ task }) => task === reported?.task);
    if (reported === undefined || waiter === undefined) return;
    this.#forget(channel, waiter);
    waiter.resolve(reported.done);
  }

  #forget(channel: string, waiter: Waiter): void {
    this.#waiting.set(
      channel,
      (this.#waiting.get(channel) ?? []).filter((each) => each !== waiter),
    );
  }

  #doneChannel(queue: string): string {
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
