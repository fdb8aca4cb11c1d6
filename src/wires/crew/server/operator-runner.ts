import { pause } from '../../../clock.js';
import type { Json } from '../../../job/job.js';
import { GIVEN_VALUE } from '../../../job/limits.js';
import { boundedBytes, TooManyBytes } from '../../../kit/bounded-bytes.js';
import { within } from '../../../kit/deadline.js';
import { JsonRefused, parseJson } from '../../../kit/json.js';
import type { LeasedJob, WorkerRef } from '../../../ledger/ledger.js';
import { DEFAULT_ABANDONED_SECONDS } from '../defaults.js';
import { isFields } from '../fields.js';
import type { CrewContext } from './context.js';
import type { Sent } from './inputs.js';
import type { Operator } from './operators.js';
import { WORKER_PREFIX } from './views.js';
import { acquired, release } from './work.js';

/** Concurrent calls per operator. */
const MAX_CALLS = 8;
/** Longest wait of one claim; changes that another Master makes to operators, and new channels, are noticed after at most this long. */
const POLL_INTERVAL_MS = 2_000;
/** A lease outlives its call by this much, so that the outcome is still settled under it. */
const MARGIN_MS = 10_000;
const MAX_REPLY_BYTES = 10 * 1024 * 1024;

interface Target {
  readonly id: string;
  /** State of the operator when this round began; absent for the virtual operator, which is fixed by the owner's options. */
  readonly operator?: Operator;
  readonly channels: readonly string[];
  /** URL to call for a task of this channel. */
  readonly urlOf: (channel: string) => string;
  readonly config: Sent;
}

/**
 * Calls operators for the tasks of their channels and settles with their replies. Between lease and call, the task, its group or the
 * operator may be stopped, here or by another Master, so everything is checked again right before the call. A change of the operators ends
 * the current round of claims.
 */
export class OperatorRunner {
  readonly #context: CrewContext;
  readonly #stop = new AbortController();
  readonly #calls = new Set<Promise<void>>();
  readonly #busy = new Map<string, number>();
  #round = new AbortController();
  #loop: Promise<void> | undefined;

  constructor(context: CrewContext) {
    this.#context = context;
    context.operators.onChange = () => {
      this.#round.abort();
      this.start();
    };
  }

  /** Starts claiming tasks if there are any operators. */
  start(): void {
    if (!this.#stop.signal.aborted) this.#loop ??= this.#run();
  }

  /** Aborts calls in flight and releases their tasks. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#loop?.catch(() => {});
    await Promise.all(this.#calls);
  }

  async #run(): Promise<void> {
    const { service } = this.#context;
    const { signal } = this.#stop;
    try {
      while (!signal.aborted) {
        this.#round = new AbortController();
        const round = this.#round.signal;
        try {
          const targets = await this.#targets();
          // An operator created in the meantime starts the next round at once.
          if (targets.length === 0 && !round.aborted) return;
          await within({ signals: [signal, round] }, (signal) => Promise.all(targets.map((target) => this.#serve(target, signal))));
        } catch (error) {
          service.log.warn('the operators could not be read', {
            error,
            hint: 'No action needed if it passes; it is retried. Otherwise check the disk or database of the ledger.',
          });
          await pause(service.clock, POLL_INTERVAL_MS, signal);
        }
      }
    } finally {
      this.#loop = undefined;
    }
  }

  async #targets(): Promise<Target[]> {
    const { service, operators, options } = this.#context;
    const { virtualOperatorUrl, virtualOperatorToken } = options;
    if (virtualOperatorUrl !== undefined) {
      const channels = (await service.ledger.channels()).map(({ name }) => name);
      const headers = virtualOperatorToken === undefined ? {} : { Authorization: `Bearer ${virtualOperatorToken}` };
      const urlOf = (channel: string) => `${virtualOperatorUrl}${encodeURIComponent(channel)}`;
      return [{ id: 'virtual', channels: channels.length > 0 ? channels : ['default'], urlOf, config: { headers } }];
    }
    return [...firstOfEach(await operators.list()).values()]
      .filter(({ isPaused }) => isPaused !== true)
      .map((operator) => ({
        operator,
        id: operator._id,
        channels: [operator.channel],
        urlOf: () => operator.url,
        config: isFields(operator.requestConfig) ? operator.requestConfig : {},
      }));
  }

  /** Claims tasks for one operator once. */
  async #serve(target: Target, signal: AbortSignal): Promise<void> {
    const { service } = this.#context;
    const busy = this.#busy.get(target.id) ?? 0;
    if (busy >= MAX_CALLS) return void (await pause(service.clock, 100, signal));
    const id = `operator_${target.id}`;
    const worker = { id: `${WORKER_PREFIX}${id}`, name: id };
    try {
      const jobs = await service.lease({
        worker,
        channels: target.channels,
        limit: MAX_CALLS - busy,
        waitMs: POLL_INTERVAL_MS,
        leaseMs: this.#leaseMs(target),
        signal,
      });
      for (const job of jobs) this.#begin(target, worker, job);
    } catch (error) {
      // For example a revoked worker; the other operators continue.
      service.log.warn('tasks for an operator could not be leased', {
        operator: target.id,
        error,
        hint: 'No action needed if it passes; it is retried. Otherwise check the disk or database of the ledger.',
      });
      await pause(service.clock, POLL_INTERVAL_MS, signal);
    }
  }

  #begin(target: Target, worker: WorkerRef, job: LeasedJob): void {
    this.#busy.set(target.id, (this.#busy.get(target.id) ?? 0) + 1);
    const call = this.#runTask(target, worker, job).finally(() => {
      this.#busy.set(target.id, (this.#busy.get(target.id) ?? 1) - 1);
      this.#calls.delete(call);
    });
    this.#calls.add(call);
  }

  async #runTask(target: Target, worker: WorkerRef, job: LeasedJob): Promise<void> {
    const { service, live } = this.#context;
    let endRoute = live.begin();
    try {
      const { task, parents } = await acquired(this.#context, job);
      const stopped = await this.#stopped(target, worker, job);
      if (stopped !== undefined) return await service.giveBack(worker, [job], stopped);
      endRoute();
      const sent = await this.#call(target, job, { input: task['input'] ?? null, parents: parents as unknown as Json, taskId: job.id });
      endRoute = live.begin();
      const record = await service.ledger.get(job.id);
      if (this.#stop.signal.aborted) return await service.giveBack(worker, [job], 'the Master stops');
      if (record !== undefined) await release(this.#context, worker, { ...record, lease: job.lease }, sent);
    } catch (error) {
      service.log.warn('a task of an operator could not be released', {
        task: job.id,
        error,
        hint: 'No action needed; the lease expires, and the task is given out again while it has attempts left.',
      });
    } finally {
      endRoute();
    }
  }

  /** Why the call must not be made after all; undefined if it may proceed. */
  async #stopped(target: Target, worker: WorkerRef, job: LeasedJob): Promise<string | undefined> {
    const { service, operators } = this.#context;
    // Rejects if the worker has been revoked.
    const [lost] = await service.extend(worker, [job], { leaseMs: this.#leaseMs(target) });
    if (lost !== undefined) return 'the task was taken away';
    const record = await service.ledger.get(job.id);
    const group = record?.group === undefined ? undefined : await service.ledger.getGroup(record.group);
    if (group?.paused === true) return 'its group was paused';
    const workgroup = record?.workgroup === undefined ? undefined : await service.ledger.getWorkgroup(record.workgroup);
    if ((workgroup?.heldUntil ?? 0) > service.clock.now()) return 'its workgroup is held';
    // This check comes last, and nothing is awaited between it and the call.
    const current = target.operator && firstOfEach(await operators.list()).get(target.operator.channel);
    if (JSON.stringify(current) !== JSON.stringify(target.operator)) return 'the operator was paused, changed or deleted';
    return this.#stop.signal.aborted ? 'the Master stops' : undefined;
  }

  /** Returns the body of the release; a failed call is an error of the task. */
  async #call(target: Target, job: LeasedJob, body: Json): Promise<Sent> {
    const { config } = target;
    try {
      const url = new URL(target.urlOf(job.channel));
      for (const [name, value] of Object.entries(isFields(config['params']) ? config['params'] : {}))
        url.searchParams.set(name, String(value));
      const request = { method: 'POST', headers: headersOf(config), body: JSON.stringify(body) };
      const limits = { signals: [this.#stop.signal], withinMs: this.#timeoutMs(target) };
      const { response, bytes } = await within(limits, async (signal) => {
        const response = await fetch(url, { ...request, signal });
        return { response, bytes: await boundedBytes(response.body, MAX_REPLY_BYTES) };
      });
      const reply = parsed(bytes.toString());
      if (reply instanceof JsonRefused) return { error: `The reply cannot be used: ${reply.message}` };
      if (response.ok) return isFields(reply) ? reply : {};
      const message = isFields(reply) ? (reply['error'] ?? reply['message']) : undefined;
      return { error: message ?? `Request failed with status code ${response.status}` };
    } catch (error) {
      if (error instanceof TooManyBytes) return { error: `The reply has ${error.message}` };
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
      return { error: cause instanceof Error ? cause.message : String(cause) };
    }
  }

  #leaseMs(target: Target): number {
    return this.#timeoutMs(target) + MARGIN_MS;
  }

  #timeoutMs({ config }: Target): number {
    const own = Number(config['timeout']);
    return own > 0 ? own : (this.#context.options.abandonedSeconds ?? DEFAULT_ABANDONED_SECONDS) * 1_000;
  }
}

/** Returns the operator that is called for each channel: the oldest one. */
function firstOfEach(newestFirst: readonly Operator[]): ReadonlyMap<string, Operator> {
  return new Map(newestFirst.map((operator) => [operator.channel, operator]));
}

/** Applies `headers` and `auth` of an Axios request configuration. */
function headersOf({ headers, auth }: Sent): Record<string, string> {
  const own = isFields(headers) ? Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)])) : {};
  const basic = isFields(auth)
    ? { authorization: `Basic ${Buffer.from(`${auth['username']}:${auth['password']}`).toString('base64')}` }
    : {};
  return { accept: 'application/json, text/plain, */*', ...basic, ...own, 'content-type': 'application/json' };
}

function parsed(text: string): unknown {
  try {
    return parseJson(text, GIVEN_VALUE);
  } catch (thrown) {
    // As in crew, a reply that is not JSON counts as empty.
    return thrown instanceof JsonRefused && thrown.reason === 'inexact' ? thrown : undefined;
  }
}
