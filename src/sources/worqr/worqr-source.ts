import { randomUUID } from 'node:crypto';
import { pause } from '../../clock.js';
import { PeerworkError } from '../../errors.js';
import { MAX_JOB_DATA_BYTES } from '../../job/limits.js';
import type { Lease, Source } from '../../job/source.js';
import { Deadline, within } from '../../kit/deadline.js';
import type { ExecAssets } from '../../task/exec-assets.js';
import type { Outbox } from '../outbox.js';
import type { LocalTask, SourceContext, SourceSetup } from '../setup.js';
import { WorqrConnection, type WorqrPlace } from './connection.js';
import { Deliveries } from './deliveries.js';
import { type Claimed, HeldTask, isTooLong, readClaimed, type WorqrData } from './lease.js';
import { Membership, refused } from './membership.js';
import { channelOf, checkPrefix, checkQueue, DEFAULT_PREFIX, processOf, WORKER_MARK } from './names.js';

const DEFAULT_ATTEMPTS = 3;
const DEFAULT_BACKOFF_MS = 1_000;
/** worqr's own. */
const DEFAULT_WORKER_TIMEOUT_MS = 3_000;
const DEFAULT_SWEEP_MS = 10_000;
/** Nothing is published when a task of a dead worker goes back: an idle worker looks for itself. */
const DEFAULT_POLL_MS = 10_000;
const MIN_REFUSED_MS = 500;
const MAX_REFUSED_MS = 10_000;
/** How long closing waits for the outcomes of what was just stopped. */
const LAST_WORDS_MS = 1_000;

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
      const connection = new WorqrConnection(options, (error) => context.trouble(error));
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
class WorqrSource implements Source {
  readonly name: string;
  readonly #options: WorqrSourceOptions;
  readonly #context: SourceContext;
  readonly #connection: WorqrConnection;
  readonly #code: ReadonlyMap<string, LocalTask>;
  readonly #outbox: Outbox;
  readonly #worker = `${WORKER_MARK}${randomUUID()}`;
  readonly #membership: Membership;
  readonly #deliveries: Deliveries;
  /** Running, or their outcome not delivered yet. */
  readonly #held = new Map<string, HeldTask>();
  readonly #running = new Set<HeldTask>();
  /** Queues that may hold something, those asked longest ago first. */
  readonly #promising = new Set<string>();
  #wake: () => void = () => {};
  #claims = 0;
  #refusedMs = 0;
  #notBefore = 0;
  readonly #closed = new AbortController();

  constructor(
    name: string,
    options: WorqrSourceOptions,
    context: SourceContext,
    connection: WorqrConnection,
    code: ReadonlyMap<string, LocalTask>,
    outbox: Outbox,
  ) {
    this.name = name;
    this.#options = options;
    this.#context = context;
    this.#connection = connection;
    this.#code = code;
    this.#outbox = outbox;
    const { clock, log, trouble } = context;
    this.#deliveries = new Deliveries({
      ...{ connection, outbox, clock, log },
      attempts: options.attempts ?? DEFAULT_ATTEMPTS,
      backoffMs: options.backoffMs ?? DEFAULT_BACKOFF_MS,
      textOf: (process) => this.#held.get(process)?.claimed.task,
      onEnd: (process) => this.#held.delete(process),
    });
    this.#membership = new Membership({
      ...{ connection, clock, log, trouble },
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
    data.on('ready', () => void this.#deliveries.sendAll());
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

  claim(capacity: number, signal: AbortSignal): Promise<Lease[]> {
    return within({ signals: [signal, this.#closed.signal] }, (ended) => this.#claim(capacity, ended));
  }

  async #claim(capacity: number, ended: AbortSignal): Promise<Lease[]> {
    while (!ended.aborted) {
      const leases: Lease[] = [];
      if (this.#connection.isUp && this.#membership.isRegistered && this.#context.clock.now() >= this.#notBefore)
        for (const queue of [...this.#promising]) {
          if (leases.length >= capacity || ended.aborted) break;
          leases.push(...(await this.#claimFrom(queue, capacity - leases.length)));
        }
      if (leases.length > 0) return leases;
      if (!ended.aborted) await this.#somethingNew(ended);
    }
    return [];
  }

  flush(signal: AbortSignal): Promise<void> {
    return this.#deliveries.flush(signal);
  }

  async close(): Promise<void> {
    this.#closed.abort();
    this.#deliveries.hurry();
    if (this.#connection.isUp)
      await within({ withinMs: LAST_WORDS_MS, clock: this.#context.clock }, (signal) => this.#deliveries.flush(signal));
    this.#deliveries.close();
    await this.#membership.close();
    this.#connection.close();
    await this.#outbox.close();
  }

  async #claimFrom(queue: string, count: number): Promise<Lease[]> {
    this.#promising.delete(queue);
    const processes = Array.from({ length: count }, () => processOf(queue, this.#worker, ++this.#claims));
    let claimed: Claimed[] | undefined;
    try {
      claimed = readClaimed(await this.#connection.run('claim', [this.#worker, queue, MAX_JOB_DATA_BYTES, ...processes]));
      this.#refusedMs = 0;
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
      return this.#deliveries.deliver({ id: job.id, lease: job.attempt, outcome, startedAt, finishedAt: clock.now() });
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
    for (const settlement of this.#deliveries.waiting()) {
      const held = this.#held.get(settlement.id);
      if (held?.job.channel === queue && held.claimed.task === task) this.#deliveries.finishNow(settlement);
    }
  }

  #lose(processes: readonly string[]): void {
    for (const process of processes) {
      const held = this.#held.get(process);
      if (held === undefined || !this.#running.delete(held)) continue;
      this.#context.log.warn('a task was taken away while it ran: another worker has it now', { process });
      this.#held.delete(process);
      held.lose();
    }
  }

  #holdBack(error: unknown): void {
    const { clock, trouble } = this.#context;
    if (this.#connection.isUp) trouble(refused(error));
    this.#refusedMs = Math.min(Math.max(MIN_REFUSED_MS, this.#refusedMs * 2), MAX_REFUSED_MS);
    this.#notBefore = clock.now() + this.#refusedMs;
  }

  /** Until a queue tells of work, the next look is due, or it ends. */
  async #somethingNew(ended: AbortSignal): Promise<void> {
    const { clock } = this.#context;
    const holdMs = this.#notBefore - clock.now();
    const ready = this.#connection.isUp && this.#membership.isRegistered;
    // Marked while the last round was on its way.
    if (holdMs <= 0 && ready && this.#promising.size > 0) return;
    const woken = new Deadline({ signals: [ended] });
    if (holdMs <= 0) this.#wake = () => woken.abort();
    await pause(clock, holdMs > 0 ? holdMs : (this.#options.pollMs ?? DEFAULT_POLL_MS), woken.signal);
    woken.end();
    this.#wake = () => {};
    if (!ended.aborted && !woken.signal.aborted && holdMs <= 0) for (const queue of this.#code.keys()) this.#promising.add(queue);
  }

  #look(queue: string): void {
    this.#promising.add(queue);
    this.#wake();
  }

  #lookEverywhere(): void {
    for (const queue of this.#code.keys()) this.#promising.add(queue);
    this.#wake();
  }
}
