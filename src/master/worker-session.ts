import { asPeerworkError, PeerworkError } from '../errors.js';
import type { Json, ParentOutput } from '../job/job.js';
import { DEFAULT_TIMEOUT_MS, MAX_CONCURRENCY } from '../job/limits.js';
import {
  checked,
  isMasterArgs,
  type LeaseKey,
  pingArgs,
  reportArgs,
  requestBlobArgs,
  requestExecAssetsArgs,
  requestWorkArgs,
  shareResultsArgs,
  type WorkItem,
} from '../job/verbs.js';
import type { LeasedJob, LeasedParent, WorkerRef } from '../ledger/ledger.js';
import { storedJson } from '../ledger/stored-json.js';
import type { PeerFacts, RpcHandlers } from '../swarm/peer.js';
import type { Desk } from './desk.js';
import type { Dispatch } from './dispatch.js';
import type { Tasks } from './tasks.js';
import type { Tunnels } from './tunnels.js';

const MAX_INSTANCES = 10_000;

export interface WorkerSessionOptions {
  readonly facts: PeerFacts;
  readonly desk: Desk;
  readonly dispatch: Dispatch;
  readonly tasks: Tasks;
  readonly tunnels: Tunnels;
  /** The instance of this worker's process that was last seen, across links. */
  readonly instances: Map<string, string>;
  /** Jobs were given back or failed. */
  readonly onChange: () => void;
}

/** What a worker told about itself when it connected. */
export interface WorkerGreeting {
  readonly version: string;
  readonly concurrency: number;
  readonly isolation: string;
  /** As the Worker says; see docs/isolation.md. */
  readonly tier?: string;
  readonly platform: string;
  readonly labels: readonly string[];
  readonly runners: readonly string[];
}

/** The Master's side of one link: answers the verbs of one worker. */
export class WorkerSession {
  readonly worker: WorkerRef;
  readonly facts: PeerFacts;
  readonly #options: WorkerSessionOptions;
  readonly #leases = new Map<string, number>();
  #greeting: WorkerGreeting | undefined;

  constructor(options: WorkerSessionOptions) {
    this.#options = options;
    this.facts = options.facts;
    this.worker = { id: options.facts.id, name: options.facts.name };
  }

  /** Undefined until the worker has said `isMaster`. */
  get greeting(): WorkerGreeting | undefined {
    return this.#greeting;
  }

  /** How many leases it holds, as far as this link knows. */
  get running(): number {
    return this.#leases.size;
  }

  /** The lease is the worker's no more. */
  forget({ id, lease }: LeaseKey): void {
    if (this.#leases.get(id) === lease) this.#leases.delete(id);
  }

  readonly handlers: RpcHandlers = {
    calls: {
      isMaster: (args) => this.#counted(() => this.#isMaster(args)),
      ping: (args) => this.#counted(() => this.#ping(args)),
      requestExecAssets: (args) => this.#counted(() => this.#options.tasks.signed(checked(requestExecAssetsArgs, args).digest)),
      requestWork: (args, signal) => this.#counted(() => this.#requestWork(args, signal)),
      shareResults: (args) => this.#counted(() => this.#shareResults(args)),
      report: (args) => this.#counted(() => this.#report(args)),
    },
    streams: {
      requestBlob: (args) =>
        this.#counted(() => {
          const { sha256, offset } = checked(requestBlobArgs, args);
          return this.#options.tasks.blob(sha256, offset);
        }),
      openTunnel: (args, signal, upload) => this.#counted(() => this.#options.tunnels.open(this.worker, args, signal, upload)),
    },
  };

  /** Before anything of it is looked at: throws `rpc-overloaded` if the worker calls too often. */
  #counted<T>(serve: () => T): T {
    const { desk } = this.#options;
    desk.rates.take(this.worker.id, 'calls', 1, desk.clock.now());
    return serve();
  }

  async #isMaster(args: unknown): Promise<unknown> {
    const { desk, instances } = this.#options;
    this.#countLeases(args);
    const { holding, instance, ...greeting } = checked(isMasterArgs, args);
    const { ledger, clock, name, version, leaseMs, beatMs } = desk;
    const now = clock.now();
    if (greeting.concurrency > (this.#greeting?.concurrency ?? MAX_CONCURRENCY))
      throw new PeerworkError('rpc-invalid', 'concurrency cannot rise on the same link');
    const before = instances.get(this.worker.id);
    const restarted = before !== undefined && before !== instance;
    // The latest last: of too many, those that were not heard of for longest are forgotten.
    instances.delete(this.worker.id);
    instances.set(this.worker.id, instance);
    const [oldest] = instances.keys();
    if (instances.size > MAX_INSTANCES && oldest !== undefined) instances.delete(oldest);
    const lost = await ledger.reconcile(this.worker, holding, now + leaseMs, { charge: restarted }, now);
    this.#greeting = greeting;
    for (const { id, lease } of holding) this.#leases.set(id, lease);
    for (const key of lost) this.forget(key);
    // What was given back may be done by others, and what was charged may have failed.
    this.#options.onChange();
    return { isMaster: 'yes', name, version, leaseMs, beatMs, lost };
  }

  /** Before they are looked at one by one. */
  #countLeases(args: unknown): void {
    const { holding } = Object(args) as { readonly holding?: unknown };
    const { desk } = this.#options;
    if (Array.isArray(holding)) desk.rates.take(this.worker.id, 'leases', holding.length, desk.clock.now());
  }

  async #ping(args: unknown): Promise<{ pong: true; lost: LeaseKey[] }> {
    const { desk } = this.#options;
    this.#countLeases(args);
    const { holding, waiting } = checked(pingArgs, args);
    const lost = await desk.extend(this.worker, holding, { waiting });
    for (const key of lost) this.forget(key);
    return { pong: true, lost };
  }

  async #requestWork(args: unknown, signal: AbortSignal): Promise<{ work: WorkItem[] }> {
    const { capacity } = checked(requestWorkArgs, args);
    if (this.#greeting === undefined) throw new PeerworkError('rpc-invalid', 'say isMaster first');
    const { dispatch, tasks, desk } = this.#options;
    const withdraw = () => dispatch.withdraw(this.worker.id);
    signal.addEventListener('abort', withdraw, { once: true });
    const { labels, runners } = this.#greeting;
    const jobs = await dispatch.request({
      worker: this.worker,
      capacity,
      channels: () => tasks.channelsFor(runners),
      labels,
      maxHeld: () => (this.#greeting?.concurrency ?? 0) + desk.rates.prefetch(this.worker.id, desk.clock.now()),
    });
    signal.removeEventListener('abort', withdraw);
    if (jobs.length === 0) return { work: [] };
    if (signal.aborted) {
      // The link ended while the jobs were being claimed: nobody will run them under these leases.
      await desk.giveBack(this.worker, jobs, 'the link ended');
      return { work: [] };
    }
    for (const { id, lease } of jobs) this.#leases.set(id, lease);
    return { work: await this.#workItems(jobs) };
  }

  async #shareResults(args: unknown): Promise<unknown> {
    const { results } = checked(shareResultsArgs, args);
    const answers = await this.#options.desk.settle(this.worker, results, undefined, (key) => this.#holds(key));
    for (const key of results) this.forget(key);
    return { answers };
  }

  /** Answered when it is in the ledger: until then the worker keeps it. */
  async #report(args: unknown): Promise<unknown> {
    const { desk } = this.#options;
    const { reports } = checked(reportArgs, args);
    desk.report(this.worker, reports, (key) => this.#holds(key));
    await desk.reported();
    return {};
  }

  #holds({ id, lease }: LeaseKey): boolean {
    return this.#leases.get(id) === lease;
  }

  /** A job whose data this version cannot hand out fails, and takes no other with it. */
  async #workItems(jobs: readonly LeasedJob[]): Promise<WorkItem[]> {
    const items: WorkItem[] = [];
    const now = this.#options.desk.clock.now();
    for (const job of jobs) {
      try {
        items.push(this.#workItem(job));
      } catch (thrown) {
        const { code, message } = asPeerworkError(thrown);
        const outcome = { state: 'failed', error: { code, message }, retry: false } as const;
        this.forget(job);
        await this.#options.desk.settle(this.worker, [{ id: job.id, lease: job.lease, outcome, startedAt: now, finishedAt: now }]);
      }
    }
    return items;
  }

  #workItem(job: LeasedJob): WorkItem {
    return {
      id: job.id,
      lease: job.lease,
      channel: job.channel,
      data: storedJson<Json>(job.data),
      attempt: job.attempt,
      timeoutMs: job.timeoutMs ?? DEFAULT_TIMEOUT_MS,
      ...(job.parents !== undefined && { parents: job.parents.map(parentOutput) }),
      ...this.#options.tasks.current(job.channel),
    };
  }
}

function parentOutput({ id, channel, data, output }: LeasedParent): ParentOutput {
  return { id, channel, data: storedJson<Json>(data), output: storedJson<Json>(output) };
}
