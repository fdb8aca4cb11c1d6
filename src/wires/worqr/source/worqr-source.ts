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
import type { ExecAssets } from '../../../task/exec-assets.js';
import { DEFAULT_ATTEMPTS, DEFAULT_PREFIX } from '../defaults.js';
import { WorqrConnection } from './connection.js';
import { Endings, TWICE } from './endings.js';
import { type Claimed, HeldTask, isTooLong, readClaimed, type WorqrData } from './lease.js';
import { Membership, refused } from './membership.js';
import { channelOf, checkPrefix, checkQueue, processOf, queueOf, WORKER_MARK, type WorqrPlace } from './names.js';

const DEFAULT_BACKOFF_MS = 1_000;
/** worqr's own. */
const DEFAULT_WORKER_TIMEOUT_MS = 3_000;
const DEFAULT_SWEEP_MS = 10_000;
/** Nothing is published when a task of a dead worker goes back: an idle worker looks for itself. */
const DEFAULT_POLL_MS = 10_000;
const MIN_REFUSED_MS = 500;
const MAX_REFUSED_MS = 10_000;
/** How long closing waits for the outcomes of what was just stopped. */
const FINAL_FLUSH_MS = 1_000;
const MIN_RETRY_MS = 500;
const MAX_RETRY_MS = 10_000;

export interface WorqrSourceOptions extends WorqrPlace {
  /** Default `worqr`; a Worker that serves several needs a name for each. */
  readonly name?: string;
  /** By queue: the folder with the code that does its tasks, or queue-xec's `execAssets`. */
  readonly tasks: Readonly<Record<string, string | ExecAssets>>;
  /** `json` (default): a task that is an object or a list in JSON becomes that, anything else stays text; `text`: always text. */
  readonly data?: WorqrData;
  /** How many runs of a task may fail or die before it is finished with its error; default 3. */
  readonly attempts?: number;
  /** First wait after a failed run; doubles. Default 1000. */
  readonly backoffMs?: number;
  /** Wall time of one run, 0 (default) for none. */
  readonly timeoutMs?: number;
  /** So long after its last sign of life this worker counts as dead; default 3000. */
  readonly workerTimeoutMs?: number;
  /** How often it looks for dead workers; default 10,000. */
  readonly sweepMs?: number;
  /** How often an idle worker looks by itself whether there is work; default 10,000. */
  readonly pollMs?: number;
}

/** Takes tasks from worqr queues, beside workers of worqr itself. Throws `option-invalid`. */
export function worqrSource(options: WorqrSourceOptions): SourceSetup {
  const name = options.name ?? 'worqr';
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
 * Claims with one script a queue, wakes when a queue tells of work. Every claimed task is a process of worqr, known to its peers by the same
 * keys as their own.
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
  /** Running, or their outcome not delivered yet. */
  readonly #held = new Map<string, HeldTask>();
  readonly #running = new Set<HeldTask>();
  /** Queues that may hold something, those asked longest ago first. */
  readonly #promising = new Set<string>();
  #claims = 0;
  readonly #refusals = new Backoff({ firstMs: MIN_REFUSED_MS, capMs: MAX_REFUSED_MS });
  #notBefore = 0;
  /** When an idle worker looks by itself. */
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
      onEnd: ({ id: process }, answer) => {
        this.#held.delete(process);
        if (answer === 'stale') this.#look(queueOf(process));
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
      onJoined: () => this.#lookEverywhere(),
    });
  }

  start(): void {
    const { data, listening, prefix } = this.#connection;
    // What an earlier process has left is delivered before anybody, we ourselves included, sweeps it away.
    data.on('ready', () => this.#sender.sendAll());
    const channels = new Map<string, () => void>();
    for (const queue of this.#code.keys()) channels.set(channelOf(prefix, queue, 'work'), () => this.#look(queue));
    const cancels = new Map([...this.#code.keys()].map((queue) => [channelOf(prefix, queue, 'cancel'), queue]));
    listening.on('message', (channel: string, message: string) => {
      channels.get(channel)?.();
      const queue = cancels.get(channel);
      if (queue !== undefined) this.#cancel(queue, message);
    });
    listening.on('ready', () => this.#lookEverywhere());
    this.#membership.start();
    this.#connection.open();
    // What was added before it was heard is found then.
    listening.subscribe(...channels.keys(), ...cancels.keys()).then(
      () => this.#lookEverywhere(),
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
    if (now >= this.#pollAt) for (const queue of this.#code.keys()) this.#promising.add(queue);
    for (const queue of [...this.#promising]) {
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
    // Tasks that could not be run have filled the last round.
    return this.#promising.size > 0 ? 0 : Math.max(1, this.#pollAt - now);
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
    this.#promising.delete(queue);
    const processes = Array.from({ length: count }, () => processOf(queue, this.#worker, ++this.#claims));
    let claimed: Claimed[] | undefined;
    try {
      claimed = readClaimed(await this.#connection.run('claim', [this.#worker, queue, MAX_JOB_DATA_BYTES, ...processes]));
      this.#refusals.reset();
    } catch (error) {
      this.#membership.doubt();
      this.#holdBack(error);
      this.#promising.add(queue);
      return [];
    }
    if (claimed === undefined) {
      this.#membership.wasFailed();
      return [];
    }
    if (claimed.length === count) this.#promising.add(queue);
    return claimed.flatMap((each) => this.#open(queue, each) ?? []);
  }

  #open(queue: string, claimed: Claimed): HeldTask | undefined {
    const code = this.#code.get(queue);
    if (code === undefined) return undefined;
    const { clock } = this.#context;
    const run = { data: this.#options.data ?? 'json', timeoutMs: this.#options.timeoutMs ?? 0, startedAt: clock.now() };
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

  /** What is never run: nobody could take it, or it has ended its workers too often already. */
  #problemOf({ claimed, fault }: HeldTask): PeerworkError | undefined {
    if (fault !== undefined) return new PeerworkError('job-invalid', fault);
    if (isTooLong(claimed)) return new PeerworkError('job-invalid', `the task has ${claimed.bytes} bytes`);
    const attempts = this.#options.attempts ?? DEFAULT_ATTEMPTS;
    if (claimed.tried >= attempts) return new PeerworkError('worker-lost', `${claimed.tried} workers ended with this task`);
    return undefined;
  }

  /** Of what is ours alone: equal tasks that others run, here or in other queues, are theirs to end. */
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
        hint: TWICE,
      });
      this.#held.delete(process);
      held.lose();
      // Whoever put it back tells nobody: it may be waiting there.
      this.#look(held.job.channel);
    }
  }

  #holdBack(error: unknown): void {
    const { clock, warning } = this.#context;
    if (this.#connection.isUp) warning(refused(error));
    this.#notBefore = clock.now() + this.#refusals.nextMs();
  }

  #look(queue: string): void {
    this.#promising.add(queue);
    this.wake();
  }

  #lookEverywhere(): void {
    for (const queue of this.#code.keys()) this.#promising.add(queue);
    this.wake();
  }
}
