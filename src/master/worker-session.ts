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
  requestFileArgs,
  requestWorkArgs,
  shareResultsArgs,
  type UploadFileAnswer,
  type UploadResultAnswer,
  uploadFileArgs,
  uploadResultArgs,
  type WorkItem,
} from '../job/verbs.js';
import type { LeasedJob, LeasedParent, WorkerRef } from '../ledger/ledger.js';
import { storedJson } from '../ledger/stored-json.js';
import type { PeerFacts, RpcHandlers } from '../swarm/peer.js';
import type { WorkerGreeting } from './connected-worker.js';
import type { Dispatch } from './dispatch.js';
import type { MasterFiles } from './files.js';
import { HeldLeases } from './held-leases.js';
import type { JobService } from './job-service.js';
import type { Tasks } from './tasks.js';
import type { Tunnels } from './tunnels.js';
import type { Uploads } from './uploads.js';

const MAX_INSTANCES = 10_000;

export interface WorkerSessionOptions {
  readonly facts: PeerFacts;
  readonly service: JobService;
  readonly dispatch: Dispatch;
  readonly tasks: Tasks;
  readonly tunnels: Tunnels;
  readonly files: MasterFiles;
  readonly uploads: Uploads;
  /** The last seen instance of each worker's process, across links. */
  readonly instances: Map<string, string>;
  /** Called when jobs were given back or failed. */
  readonly onChange: () => void;
}

/** The Master's end of one link: implements the verbs for one worker. */
export class WorkerSession {
  readonly worker: WorkerRef;
  readonly facts: PeerFacts;
  readonly #options: WorkerSessionOptions;
  readonly #leases = new HeldLeases();
  #greeting: WorkerGreeting | undefined;
  #renewedAt = 0;
  #receivedBytes = 0;

  constructor(options: WorkerSessionOptions) {
    this.#options = options;
    this.facts = options.facts;
    this.worker = { id: options.facts.id, name: options.facts.name };
  }

  /** Undefined until the worker has called `isMaster`. */
  get greeting(): WorkerGreeting | undefined {
    return this.#greeting;
  }

  /** Number of leases it holds, as far as this link knows. */
  get running(): number {
    return this.#leases.size;
  }

  /** Records that the worker no longer holds the lease. */
  forget(key: LeaseKey): void {
    this.#leases.forget(key);
    this.#options.uploads.forget(this.worker.id, key);
  }

  /**
   * Renews the worker's leases if its beat has not done so for half a lease: anything it sends shows that it is alive.
   *
   * @param receivedBytes total bytes received over its link so far
   */
  async renew(receivedBytes: number): Promise<void> {
    const { service } = this.#options;
    const isHeard = receivedBytes !== this.#receivedBytes;
    this.#receivedBytes = receivedBytes;
    if (!isHeard || service.clock.now() - this.#renewedAt < service.leaseMs / 2) return;
    const { leases, ...paused } = this.#leases.renewable();
    if (leases.length === 0) return;
    this.#renewedAt = service.clock.now();
    for (const key of await service.extend(this.worker, leases, paused)) this.forget(key);
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
      requestFile: (args) =>
        this.#counted(() => {
          const { sha256, offset, ...key } = checked(requestFileArgs, args);
          return this.#options.files.read(this.worker, key, sha256, offset);
        }),
      uploadResult: (args, signal, upload) => this.#counted(() => this.#uploadResult(args, signal, upload)),
      uploadFile: (args, _signal, upload) => this.#counted(() => this.#uploadFile(args, upload)),
      openTunnel: (args, signal, upload) => this.#counted(() => this.#options.tunnels.open(this.worker, args, signal, upload)),
    },
  };

  /** Counts a call before it is parsed; throws `rpc-overloaded` if the worker calls too often. */
  #counted<T>(serve: () => T): T {
    const { service } = this.#options;
    service.rates.take(this.worker.id, 'calls', 1, service.clock.now());
    return serve();
  }

  async #isMaster(args: unknown): Promise<unknown> {
    const { service, instances } = this.#options;
    this.#countLeases(args);
    const { holding, instance, ...greeting } = checked(isMasterArgs, args);
    const { ledger, clock, name, version, leaseMs, beatMs } = service;
    const now = clock.now();
    if (greeting.concurrency > (this.#greeting?.concurrency ?? MAX_CONCURRENCY))
      throw new PeerworkError('rpc-invalid', 'concurrency cannot rise on the same link');
    const before = instances.get(this.worker.id);
    const restarted = before !== undefined && before !== instance;
    // Moved to the end: the map evicts the least recently heard first.
    instances.delete(this.worker.id);
    instances.set(this.worker.id, instance);
    const [oldest] = instances.keys();
    if (instances.size > MAX_INSTANCES && oldest !== undefined) instances.delete(oldest);
    const lost = await ledger.reconcile(this.worker, holding, now + leaseMs, { charge: restarted }, now);
    this.#greeting = greeting;
    this.#leases.greet(holding);
    this.#renewedAt = now;
    for (const key of lost) this.forget(key);
    // Jobs given back may go to others, and charged ones may have failed.
    this.#options.onChange();
    return { isMaster: 'yes', name, version, leaseMs, beatMs, lost };
  }

  /** Counts the named leases before they are validated one by one. */
  #countLeases(args: unknown): void {
    const { holding } = Object(args) as { readonly holding?: unknown };
    const { service } = this.#options;
    if (Array.isArray(holding)) service.rates.take(this.worker.id, 'leases', holding.length, service.clock.now());
  }

  async #ping(args: unknown): Promise<{ pong: true; lost: LeaseKey[] }> {
    const { service } = this.#options;
    this.#countLeases(args);
    const beat = checked(pingArgs, args);
    this.#leases.recordBeat(beat);
    this.#renewedAt = service.clock.now();
    const lost = await service.extend(this.worker, beat.holding, beat);
    for (const key of lost) this.forget(key);
    return { pong: true, lost };
  }

  async #requestWork(args: unknown, signal: AbortSignal): Promise<{ work: WorkItem[] }> {
    const { capacity, can } = checked(requestWorkArgs, args);
    if (this.#greeting === undefined) throw new PeerworkError('rpc-invalid', 'isMaster must be called first');
    if (can !== undefined) this.#greeting = { ...this.#greeting, ...can };
    const { dispatch, tasks, service } = this.#options;
    const withdraw = () => dispatch.withdraw(this.worker.id);
    signal.addEventListener('abort', withdraw, { once: true });
    const { labels, runners } = this.#greeting;
    const jobs = await dispatch.request({
      worker: this.worker,
      capacity,
      channels: () => tasks.channelsFor(runners),
      labels,
      maxHeld: () => (this.#greeting?.concurrency ?? 0) + service.rates.prefetch(this.worker.id, service.clock.now()),
    });
    signal.removeEventListener('abort', withdraw);
    if (jobs.length === 0) return { work: [] };
    if (signal.aborted) {
      // The link ended during the claim, so these leases will not be used.
      await service.giveBack(this.worker, jobs, 'the link ended');
      return { work: [] };
    }
    this.#leases.handOut(jobs);
    return { work: await this.#workItems(jobs) };
  }

  async #shareResults(args: unknown): Promise<unknown> {
    const { results } = checked(shareResultsArgs, args);
    const answers = await this.#options.service.settle(this.worker, results, undefined, (key) => this.#leases.has(key));
    for (const key of results) this.forget(key);
    return { answers };
  }

  /** Receives an outcome too large to share a message with others. If the link ends midway, what was received is kept. */
  async *#uploadResult(args: unknown, signal: AbortSignal, upload: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    const wanted = checked(uploadResultArgs, args);
    const { service, uploads } = this.#options;
    const key: LeaseKey = { id: wanted.id, lease: wanted.lease };
    const [lost] = await service.extend(this.worker, [key], { ended: [key] });
    if (lost !== undefined && wanted.late !== true) {
      this.forget(key);
      yield lineOf({ kind: 'answer', answer: 'stale' });
      return;
    }
    const part = await uploads.take(this.worker.id, wanted, signal);
    try {
      yield lineOf({ kind: 'from', offset: part.length });
      for await (const bytes of upload) part.add(bytes);
      const [answer] = await service.settle(this.worker, [part.read()], undefined, (held) => this.#leases.has(held));
      this.forget(key);
      yield lineOf({ kind: 'answer', answer: answer ?? 'stale' });
    } finally {
      part.release();
    }
  }

  /** Content of a file that a run made; its outcome comes afterwards. What has arrived stays, should the link end. */
  async *#uploadFile(args: unknown, upload: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    const { file, ...key } = checked(uploadFileArgs, args);
    const { service } = this.#options;
    const [lost] = await service.extend(this.worker, [key], { ended: [key] });
    if (lost !== undefined) {
      this.forget(key);
      throw new PeerworkError('cancelled');
    }
    const upTo = await service.files.lengthOf(file.sha256, this.worker.id);
    yield lineOf(upTo);
    if (!upTo.complete)
      yield lineOf(await service.files.receive(file.sha256, { offset: upTo.length, size: file.size }, upload, this.worker.id));
  }

  /** Replies only once the reports are in the ledger: until then the worker keeps them. */
  async #report(args: unknown): Promise<unknown> {
    const { service } = this.#options;
    const { reports } = checked(reportArgs, args);
    service.report(this.worker, reports, (key) => this.#leases.has(key));
    await service.reported();
    return {};
  }

  /** Builds the work items. A job whose data this version cannot hand out fails alone, without affecting the others. */
  async #workItems(jobs: readonly LeasedJob[]): Promise<WorkItem[]> {
    const items: WorkItem[] = [];
    const now = this.#options.service.clock.now();
    for (const job of jobs) {
      try {
        items.push(this.#workItem(job));
      } catch (thrown) {
        const { code, message } = asPeerworkError(thrown);
        const outcome = { state: 'failed', error: { code, message }, retry: false } as const;
        this.forget(job);
        await this.#options.service.settle(this.worker, [{ id: job.id, lease: job.lease, outcome, startedAt: now, finishedAt: now }]);
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
      ...(job.files !== undefined && { files: job.files }),
      ...this.#options.tasks.current(job.channel),
    };
  }
}

function lineOf(message: UploadResultAnswer | UploadFileAnswer): Uint8Array {
  return Buffer.from(`${JSON.stringify(message)}\n`);
}

function parentOutput({ data, output, ...parent }: LeasedParent): ParentOutput {
  return { ...parent, data: storedJson<Json>(data), output: storedJson<Json>(output) };
}
