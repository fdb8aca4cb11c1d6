import { createHash, randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';

/**
 * A worker and producer that accesses Redis as worqr 1.2.3 does, command by command and with its faults (recovery by queue instead
 * of by worker, tasks put back at the end without notification). The package itself is no longer in the npm registry.
 */
export class WorqrPeer {
  readonly id: string = randomUUID();
  readonly events: { readonly queue: string; readonly type: string; readonly payload: string }[] = [];
  readonly #data: Redis;
  readonly #listening: Redis;
  readonly #prefix: string;
  readonly #timeoutSeconds: number;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #queues: string[] = [];

  constructor(url: string, options: { readonly prefix?: string; readonly timeoutSeconds?: number; readonly sweepMs?: number } = {}) {
    this.#data = new Redis(url);
    this.#listening = new Redis(url);
    for (const redis of [this.#data, this.#listening]) redis.on('error', () => {});
    this.#prefix = options.prefix ?? 'worqr';
    this.#timeoutSeconds = options.timeoutSeconds ?? 3;
    this.#listening.on('message', (channel: string, payload: string) => {
      const rest = channel.slice(channel.indexOf('_') + 1);
      const at = rest.lastIndexOf('_');
      this.events.push({ queue: rest.slice(0, at), type: rest.slice(at + 1), payload });
    });
    // Every instance checks for dead workers, including producers.
    this.#timers.push(setInterval(() => void this.sweep().catch(() => {}), options.sweepMs ?? 10_000));
  }

  async enqueue(queue: string, ...tasks: readonly string[]): Promise<void> {
    await this.#data
      .multi()
      .lpush(this.#key('queues', queue), ...tasks)
      .publish(this.#channel(queue, 'work'), String(tasks.length))
      .exec();
  }

  /** On a connection that nothing else uses meanwhile: there the original is correct. */
  async enqueueUnique(queue: string, task: string): Promise<void> {
    const key = this.#key('uniqueTasks', md5(task));
    await this.#data.watch(key);
    if ((await this.#data.get(key)) !== null) throw new Error('Trying to enqueue duplicate task in unique queue');
    await this.#data.multi().set(key, ' ').lpush(this.#key('queues', queue), task).publish(this.#channel(queue, 'work'), '1').exec();
  }

  async cancel(queue: string, task: string): Promise<void> {
    await this.#data.multi().lrem(this.#key('queues', queue), 0, task).publish(this.#channel(queue, 'cancel'), task).exec();
  }

  async count(queue: string): Promise<number> {
    return this.#data.llen(this.#key('queues', queue));
  }

  async startWorker(): Promise<void> {
    await this.#data
      .multi()
      .sadd(`${this.#prefix}:workers`, this.id)
      .sadd(`${this.#prefix}:expiringWorkers`, this.id)
      .set(this.#key('workerTimers', this.id), 'RUN', 'EX', this.#timeoutSeconds)
      .exec();
    this.#timers.push(setInterval(() => void this.#beat().catch(() => {}), (this.#timeoutSeconds * 1_000) / 3));
  }

  async startWork(queue: string): Promise<void> {
    if ((await this.#data.sismember(`${this.#prefix}:workers`, this.id)) === 0) throw new Error(`${this.id} is not started`);
    await this.#data.sadd(this.#key('workingQueues', this.id), queue);
    this.#queues.push(queue);
    await this.#listening.subscribe(...['work', 'done', 'cancel', 'delete'].map((type) => this.#channel(queue, type)));
    const waiting = await this.count(queue);
    if (waiting > 0) await this.#data.publish(this.#channel(queue, 'work'), String(waiting));
  }

  async dequeue(queue: string): Promise<{ readonly id: string; readonly task: string } | null> {
    if ((await this.#data.sismember(this.#key('workingQueues', this.id), queue)) === 0)
      throw new Error(`${this.id} is not working on ${queue}`);
    const id = `${queue}_${randomUUID()}`;
    const [queued, process, working] = [this.#key('queues', queue), this.#key('processes', id), this.#key('workingProcesses', queue)];
    const answers = await this.#data.multi().rpoplpush(queued, process).sadd(working, id).exec();
    const task = answers?.[0]?.[1];
    if (typeof task === 'string') return { id, task };
    await this.#data.multi().rpoplpush(process, queued).del(process).srem(working, id).exec();
    return null;
  }

  async finish(id: string, result?: unknown): Promise<void> {
    const queue = id.slice(0, id.lastIndexOf('_'));
    const [task] = await this.#data.lrange(this.#key('processes', id), 0, -1);
    await this.#data
      .multi()
      .del(this.#key('uniqueTasks', md5(task ?? 'undefined')))
      .del(this.#key('processes', id))
      .srem(this.#key('workingProcesses', queue), id)
      .exec();
    await this.#data.publish(this.#channel(queue, 'done'), JSON.stringify({ workerId: this.id, task, ...(result ? { result } : {}) }));
  }

  /** Puts back every task of every queue that the worker works on, whoever holds it. */
  async failWorker(worker: string): Promise<void> {
    const queues = await this.#data.smembers(this.#key('workingQueues', worker));
    const processes = (await Promise.all(queues.map((queue) => this.#data.smembers(this.#key('workingProcesses', queue))))).flat();
    const change = this.#data.multi();
    for (const set of ['workers', 'expiringWorkers', 'permanentWorkers']) change.srem(`${this.#prefix}:${set}`, worker);
    change.del(this.#key('workerTimers', worker)).del(this.#key('workingQueues', worker));
    for (const queue of queues) change.del(this.#key('workingProcesses', queue));
    for (const id of processes)
      change.rpoplpush(this.#key('processes', id), this.#key('queues', id.slice(0, id.lastIndexOf('_')))).del(this.#key('processes', id));
    await change.exec();
  }

  async sweep(): Promise<void> {
    for (const worker of await this.#data.smembers(`${this.#prefix}:expiringWorkers`)) {
      if (worker === this.id || (await this.#data.keys(this.#key('workerTimers', worker))).length > 0) continue;
      await this.failWorker(worker);
    }
  }

  /** Dies as if its process were killed: nothing is cleaned up. */
  die(): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#data.disconnect();
    this.#listening.disconnect();
  }

  async #beat(): Promise<void> {
    const alive = await this.#data.set(this.#key('workerTimers', this.id), 'RUN', 'EX', this.#timeoutSeconds, 'XX');
    if (alive === null) await this.failWorker(this.id);
  }

  #key(kind: string, name: string): string {
    return `${this.#prefix}:${kind}:${name}`;
  }

  #channel(queue: string, type: string): string {
    return `${this.#prefix}_${queue}_${type}`;
  }
}

function md5(text: string): string {
  return createHash('md5').update(text).digest('hex');
}
