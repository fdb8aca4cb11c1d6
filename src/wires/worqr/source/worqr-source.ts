import { randomUUID } from 'node:crypto';
import { PeerworkError } from '../../../errors.js';
import { MAX_JOB_DATA_BYTES } from '../../../job/limits.js';
import type { Lease } from '../../../job/source.js';
import { Backoff } from '../../../kit/backoff.js';
import { optionalPackage } from '../../../kit/optional-package.js';
import { LeasedSource } from '../../../sources/leased-source.js';
import type { Outbox } from '../../../sources/outbox.js';
import { OutcomeSender } from '../../../sources/outcome-sender.js';
import type { LocalTask, SourceContext, SourceSetup } from '../../../sources/setup.js';
import {
  DEFAULT_ATTEMPTS,
  DEFAULT_BACKOFF_MS,
  DEFAULT_DATA,
  DEFAULT_NAME,
  DEFAULT_POLL_MS,
  DEFAULT_PREFIX,
  DEFAULT_SWEEP_MS,
  DEFAULT_WORKER_TIMEOUT_MS,
} from '../defaults.js';
import { WorqrConnection } from './connection.js';
import { Endings, LOST_TASK_HINT } from './endings.js';
import { type Claimed, HeldTask, isTooLong, readClaimed } from './lease.js';
import { Membership, refused } from './membership.js';
import { channelOf, checkPrefix, checkQueue, processOf, queueOf, WORKER_MARK } from './names.js';
import type { WorqrSourceOptions } from './options.js';

const MIN_REFUSED_MS = 500;
const MAX_REFUSED_MS = 10_000;
/** How long `close` waits for the outcomes of runs that were just stopped. */
const FINAL_FLUSH_MS = 1_000;
const MIN_RETRY_MS = 500;
const MAX_RETRY_MS = 10_000;

/** Takes tasks from worqr queues, alongside worqr's own workers. Throws `option-invalid`. */
export function worqrSource(options: WorqrSourceOptions): SourceSetup {
  const name = options.name ?? DEFAULT_NAME;
  if (Object.keys(options.tasks).length === 0) throw new PeerworkError('option-invalid', `the source ${name} has no queue to serve`);
  checkPrefix(options.prefix ?? DEFAULT_PREFIX);
  for (const queue of Object.keys(options.tasks)) checkQueue(queue);
  return {
    name,
    async open(context) {
      const code = new Map<string, LocalTask>();
      for (const [queue, source] of Object.entries(options.tasks)) code.set(queue, await context.localTask(queue, source));
      const connection = new WorqrConnection(await optionalPackage('ioredis'), options, (error) => context.warning(error));
      const source = new WorqrSource(name, options, context, connection, code, await context.openOutbox());
      source.start();
      return source;
    },
  };
}

/**
 * Claims with one script per queue, and wakes when a queue announces work. Every claimed task is a worqr process, stored under the same
 * keys as those of its peers.
 */
class WorqrSource extends LeasedSource {
  readonly #options: WorqrSourceOptions;
  readonly #context: SourceContext;
  readonly #connection: WorqrConnection;
  readonly #code: ReadonlyMap<string, LocalTask>;
  readonly #outbox: Outbox;
  readonly #worker = `${WORKER_MARK}${randomUUID()}`;
  readonly #membership: Membership;
  readonly #endings: Endings;
  readonly #sender: OutcomeSender;
  /** Tasks that are running or whose outcome is not delivered yet, by process. */
  readonly #held = new Map<string, HeldTask>();
  readonly #running = new Set<HeldTask>();
  /** Queues that may have tasks, in the order in which they were added. */
  readonly #candidates = new Set<string>();
  #claims = 0;
  readonly #refusals = new Backoff({ firstMs: MIN_REFUSED_MS, capMs: MAX_REFUSED_MS });
  #notBefore = 0;
  /** When an idle worker polls next. */
  #pollAt = 0;

  constructor(
    name: string,
    options: WorqrSourceOptions,
    context: SourceContext,
    connection: WorqrConnection,
    code: ReadonlyMap<string, LocalTask>,
    outbox: Outbox,
  ) {
    super(name, context.clock);
    this.#options = options;
    this.#context = context;
    this.#connection = connection;
    this.#code = code;
    this.#outbox = outbox;
    const { clock, log, warning } = context;
    this.#endings = new Endings({
      ...{ connection, log },
      attempts: options.attempts ?? DEFAULT_ATTEMPTS,
      backoffMs: options.backoffMs ?? DEFAULT_BACKOFF_MS,
      textOf: (process) => this.#held.get(process)?.claimed.task,
    });
    this.#sender = new OutcomeSender({
      ...{ outbox, clock, firstMs: MIN_RETRY_MS, capMs: MAX_RETRY_MS },
      send: (settlement) => this.#endings.send(settlement),
      onEnd: ({ id: process }, result) => {
        this.#held.delete(process);
        if (result === 'stale') this.#wakeFor(queueOf(process));
      },
      onFault: ({ id: process }, error) => {
        log.debug('an outcome could not be delivered', { process, error });
        return undefined;
      },
    });
    this.#membership = new Membership({
      ...{ connection, clock, log, warning },
      worker: this.#worker,
      queues: [...code.keys()],
      workerTimeoutMs: options.workerTimeoutMs ?? DEFAULT_WORKER_TIMEOUT_MS,
      sweepMs: options.sweepMs ?? DEFAULT_SWEEP_MS,
      running: () => [...this.#running].map(({ claimed }) => claimed.process),
      held: () => new Set([...this.#held.keys(), ...outbox.pending().map(({ id }) => id)]),
      onLost: (processes) => this.#lose(processes),
      onJoined: () => this.#wakeForAll(),
    });
  }

  start(): void {
    const { data, listening, prefix } = this.#connection;
    // Deliver the outcomes of an earlier process before anybody, including this worker, puts its tasks back.
    data.on('ready', () => this.#sender.sendAll());
    const channels = new Map<string, () => void>();
    for (const queue of this.#code.keys()) channels.set(channelOf(prefix, queue, 'work'), () => this.#wakeFor(queue));
    const cancels = new Map([...this.#code.keys()].map((queue) => [channelOf(prefix, queue, 'cancel'), queue]));
    listening.on('message', (channel: string, message: string) => {
      channels.get(channel)?.();
      const queue = cancels.get(channel);
      if (queue !== undefined) this.#cancel(queue, message);
    });
    listening.on('ready', () => this.#wakeForAll());
    this.#membership.start();
    this.#connection.open();
    // Finds tasks that were added before the subscription took effect.
    listening.subscribe(...channels.keys(), ...cancels.keys()).then(
      () => this.#wakeForAll(),
      () => {},
    );
  }

  flush(signal: AbortSignal): Promise<void> {
    return this.#sender.flush(signal);
  }

  protected async take(capacity: number, signal: AbortSignal): Promise<Lease[]> {
    const leases: Lease[] = [];
    const now = this.clock.now();
    if (!this.#isReady || now < this.#notBefore) return leases;
    if (now >= this.#pollAt) for (const queue of this.#code.keys()) this.#candidates.add(queue);
    for (const queue of [...this.#candidates]) {
      if (leases.length >= capacity || signal.aborted) break;
      leases.push(...(await this.#claimFrom(queue, capacity - leases.length)));
    }
    this.#pollAt = this.clock.now() + this.#pollMs;
    return leases;
  }

  protected override idleMs(): number {
    const now = this.clock.now();
    if (this.#notBefore > now) return this.#notBefore - now;
    if (!this.#isReady) return this.#pollMs;
    // Tasks that could not be run filled the last round.
    return this.#candidates.size > 0 ? 0 : Math.max(1, this.#pollAt - now);
  }

  protected async end(): Promise<void> {
    await this.#sender.close(this.#connection.isUp ? FINAL_FLUSH_MS : 0);
    await this.#membership.close();
    this.#connection.close();
    await this.#outbox.close();
  }

  get #pollMs(): number {
    return this.#options.pollMs ?? DEFAULT_POLL_MS;
  }

  get #isReady(): boolean {
    return this.#connection.isUp && this.#membership.isRegistered;
  }

  async #claimFrom(queue: string, count: number): Promise<Lease[]> {
    this.#candidates.delete(queue);
    const processes = Array.from({ length: count }, () => processOf(queue, this.#worker, ++this.#claims));
    let claimed: Claimed[] | undefined;
    try {
      claimed = readClaimed(await this.#connection.run('claim', [this.#worker, queue, MAX_JOB_DATA_BYTES, ...processes]));
      this.#refusals.reset();
    } catch (error) {
      this.#membership.suspectClaim();
      this.#holdBack(error);
      this.#candidates.add(queue);
      return [];
    }
    if (claimed === undefined) {
      this.#membership.notRegistered();
      return [];
    }
    if (claimed.length === count) this.#candidates.add(queue);
    return claimed.flatMap((each) => this.#open(queue, each) ?? []);
  }

  #open(queue: string, claimed: Claimed): HeldTask | undefined {
    const code = this.#code.get(queue);
    if (code === undefined) return undefined;
    const { clock } = this.#context;
    const run = { data: this.#options.data ?? DEFAULT_DATA, timeoutMs: this.#options.timeoutMs ?? 0, startedAt: clock.now() };
    const held = new HeldTask(claimed, code.lease(), run, (task, outcome) => {
      this.#running.delete(task);
      const { job, startedAt } = task;
      const settlement = { id: job.id, lease: job.attempt, outcome, startedAt, finishedAt: clock.now() };
      return this.#sender.deliver(settlement, this.#endings.holdMs(settlement));
    });
    this.#held.set(claimed.process, held);
    this.#running.add(held);
    const problem = this.#problemOf(held);
    if (problem === undefined) return held;
    void held.settle({ state: 'failed', error: { code: problem.code, message: problem.message }, retry: false });
    return undefined;
  }

  /** Why a task is never run: it is invalid, or has crashed its workers too often already. */
  #problemOf({ claimed, fault }: HeldTask): PeerworkError | undefined {
    if (fault !== undefined) return new PeerworkError('job-invalid', fault);
    if (isTooLong(claimed)) return new PeerworkError('job-invalid', `the task has ${claimed.bytes} bytes`);
    const attempts = this.#options.attempts ?? DEFAULT_ATTEMPTS;
    if (claimed.tried >= attempts) return new PeerworkError('worker-lost', `${claimed.tried} workers ended with this task`);
    return undefined;
  }

  /** Cancels only what this worker holds: other workers end equal tasks of their own, and so do other queues. */
  #cancel(queue: string, task: string): void {
    const error = { code: 'cancelled', message: new PeerworkError('cancelled').message };
    for (const held of [...this.#running]) {
      if (held.job.channel !== queue || held.claimed.task !== task) continue;
      void held.settle({ state: 'failed', error, retry: false });
      held.lose();
    }
    for (const settlement of this.#sender.held()) {
      const held = this.#held.get(settlement.id);
      if (held?.job.channel !== queue || held.claimed.task !== task) continue;
      this.#endings.cancel(settlement);
      this.#sender.sendHeld(settlement);
    }
  }

  #lose(processes: readonly string[]): void {
    for (const process of processes) {
      const held = this.#held.get(process);
      if (held === undefined || !this.#running.delete(held)) continue;
      this.#context.log.warn('a task is no longer held here: its process is gone from Redis, its run is stopped', {
        process,
        hint: LOST_TASK_HINT,
      });
      this.#held.delete(process);
      held.lose();
      // The peer that put the task back may not have published it, so poll its queue.
      this.#wakeFor(held.job.channel);
    }
  }

  #holdBack(error: unknown): void {
    const { clock, warning } = this.#context;
    if (this.#connection.isUp) warning(refused(error));
    this.#notBefore = clock.now() + this.#refusals.nextMs();
  }

  #wakeFor(queue: string): void {
    this.#candidates.add(queue);
    this.wake();
  }

  #wakeForAll(): void {
    for (const queue of this.#code.keys()) this.#candidates.add(queue);
    this.wake();
  }
}
