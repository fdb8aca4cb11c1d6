import { pause } from '../../../clock.js';
import type { Json } from '../../../job/job.js';
import { GIVEN_VALUE } from '../../../job/limits.js';
import { boundedBytes, TooManyBytes } from '../../../kit/bounded-bytes.js';
import { within } from '../../../kit/deadline.js';
import { JsonRefused, parseJson } from '../../../kit/json.js';
import type { LeasedJob, WorkerRef } from '../../../ledger/ledger.js';
import type { CrewContext } from './context.js';
import { isSent, type Sent } from './inputs.js';
import type { Operator } from './operators.js';
import { WORKER_PREFIX } from './views.js';
import { acquired, release } from './work.js';

const DEFAULT_TIMEOUT_SECONDS = 60;
/** Calls of one operator that are under way at once. */
const MAX_CALLS = 8;
/** How long one look for tasks waits: what another Master changed of the operators, and new channels, are seen after that. */
const POLL_INTERVAL_MS = 2_000;
/** A lease outlives the call by this much, so that its end is recorded under it. */
const MARGIN_MS = 10_000;
const MAX_REPLY_BYTES = 10 * 1024 * 1024;

interface Target {
  readonly id: string;
  /** As it was when the look began; absent for the virtual one, which the owner's options fix. */
  readonly operator?: Operator;
  readonly channels: readonly string[];
  /** Whom to call for a task of this channel. */
  readonly urlOf: (channel: string) => string;
  readonly config: Sent;
}

/**
 * Calls operators for the tasks of their channels, and settles with what they answer. Between a lease and its call everything may have been stopped,
 * here or at another Master: so all of it is looked at once more right before the call, and a change of the operators ends the looks that wait.
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

  /** Begins to look for tasks, if there is anyone to call. */
  start(): void {
    if (!this.#stop.signal.aborted) this.#loop ??= this.#look();
  }

  /** Calls that are under way are given up, and their tasks given back. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#loop?.catch(() => {});
    await Promise.all(this.#calls);
  }

  async #look(): Promise<void> {
    const { service } = this.#context;
    const { signal } = this.#stop;
    try {
      while (!signal.aborted) {
        this.#round = new AbortController();
        const round = this.#round.signal;
        try {
          const targets = await this.#targets();
          // Who was made meanwhile is looked for at once.
          if (targets.length === 0 && !round.aborted) return;
          await within({ signals: [signal, round] }, (ended) => Promise.all(targets.map((target) => this.#serve(target, ended))));
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
        config: isSent(operator.requestConfig) ? operator.requestConfig : {},
      }));
  }

  /** One look for tasks of one operator. */
  async #serve(target: Target, ended: AbortSignal): Promise<void> {
    const { service } = this.#context;
    const busy = this.#busy.get(target.id) ?? 0;
    if (busy >= MAX_CALLS) return void (await pause(service.clock, 100, ended));
    const id = `operator_${target.id}`;
    const worker = { id: `${WORKER_PREFIX}${id}`, name: id };
    try {
      const jobs = await service.lease({
        worker,
        channels: target.channels,
        limit: MAX_CALLS - busy,
        waitMs: POLL_INTERVAL_MS,
        leaseMs: this.#leaseMs(target),
        signal: ended,
      });
      for (const job of jobs) this.#begin(target, worker, job);
    } catch (error) {
      // A revoked one, for example: the others go on.
      service.log.warn('tasks for an operator could not be leased', {
        operator: target.id,
        error,
        hint: 'No action needed if it passes; it is retried. Otherwise check the disk or database of the ledger.',
      });
      await pause(service.clock, POLL_INTERVAL_MS, ended);
    }
  }

  #begin(target: Target, worker: WorkerRef, job: LeasedJob): void {
    this.#busy.set(target.id, (this.#busy.get(target.id) ?? 0) + 1);
    const call = this.#run(target, worker, job).finally(() => {
      this.#busy.set(target.id, (this.#busy.get(target.id) ?? 1) - 1);
      this.#calls.delete(call);
    });
    this.#calls.add(call);
  }

  async #run(target: Target, worker: WorkerRef, job: LeasedJob): Promise<void> {
    const { service, live } = this.#context;
    let told = live.begin();
    try {
      const { task, parents } = await acquired(this.#context, job);
      const stopped = await this.#stopped(target, worker, job);
      if (stopped !== undefined) return await service.giveBack(worker, [job], stopped);
      told();
      const sent = await this.#call(target, job, { input: task['input'] ?? null, parents: parents as unknown as Json, taskId: job.id });
      told = live.begin();
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
      told();
    }
  }

  /** Why no call is made for this lease after all; undefined: it may be made. */
  async #stopped(target: Target, worker: WorkerRef, job: LeasedJob): Promise<string | undefined> {
    const { service, operators } = this.#context;
    // Rejects for a worker that was revoked.
    const [lost] = await service.extend(worker, [job], { leaseMs: this.#leaseMs(target) });
    if (lost !== undefined) return 'the task was taken away';
    const record = await service.ledger.get(job.id);
    const group = record?.group === undefined ? undefined : await service.ledger.getGroup(record.group);
    if (group?.paused === true) return 'its group was paused';
    const workgroup = record?.workgroup === undefined ? undefined : await service.ledger.getWorkgroup(record.workgroup);
    if ((workgroup?.heldUntil ?? 0) > service.clock.now()) return 'its workgroup is held';
    // The last, and nothing is waited for between it and the call.
    const standing = target.operator && firstOfEach(await operators.list()).get(target.operator.channel);
    if (JSON.stringify(standing) !== JSON.stringify(target.operator)) return 'the operator was paused, changed or deleted';
    return this.#stop.signal.aborted ? 'the Master stops' : undefined;
  }

  /** What is to be released with; a call that fails is an error of the task. */
  async #call(target: Target, job: LeasedJob, body: Json): Promise<Sent> {
    const { config } = target;
    try {
      const url = new URL(target.urlOf(job.channel));
      for (const [name, value] of Object.entries(isSent(config['params']) ? config['params'] : {}))
        url.searchParams.set(name, String(value));
      const request = { method: 'POST', headers: headersOf(config), body: JSON.stringify(body) };
      const limits = { signals: [this.#stop.signal], withinMs: this.#timeoutMs(target) };
      const { response, bytes } = await within(limits, async (signal) => {
        const response = await fetch(url, { ...request, signal });
        return { response, bytes: await boundedBytes(response.body, MAX_REPLY_BYTES) };
      });
      const reply = parsed(bytes.toString());
      if (reply instanceof JsonRefused) return { error: `The reply cannot be used: ${reply.message}` };
      if (response.ok) return isSent(reply) ? reply : {};
      const told = isSent(reply) ? (reply['error'] ?? reply['message']) : undefined;
      return { error: told ?? `Request failed with status code ${response.status}` };
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
    return own > 0 ? own : (this.#context.options.abandonedSeconds ?? DEFAULT_TIMEOUT_SECONDS) * 1_000;
  }
}

/** Which operator is called for the tasks of a channel: its oldest. */
function firstOfEach(newestFirst: readonly Operator[]): ReadonlyMap<string, Operator> {
  return new Map(newestFirst.map((operator) => [operator.channel, operator]));
}

/** Of an Axios request configuration: `headers` and `auth`. */
function headersOf({ headers, auth }: Sent): Record<string, string> {
  const own = isSent(headers) ? Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)])) : {};
  const basic = isSent(auth) ? { authorization: `Basic ${Buffer.from(`${auth['username']}:${auth['password']}`).toString('base64')}` } : {};
  return { accept: 'application/json, text/plain, */*', ...basic, ...own, 'content-type': 'application/json' };
}

function parsed(text: string): unknown {
  try {
    return parseJson(text, GIVEN_VALUE);
  } catch (thrown) {
    // What is no JSON at all is an empty reply, as in crew.
    return thrown instanceof JsonRefused && thrown.reason === 'inexact' ? thrown : undefined;
  }
}
