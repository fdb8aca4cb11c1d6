import { pause } from '../../clock.js';
import type { Json } from '../../job/job.js';
import { GIVEN_VALUE } from '../../job/limits.js';
import { within } from '../../kit/deadline.js';
import { JsonRefused, parseJson } from '../../kit/json.js';
import type { LeasedJob } from '../../ledger/ledger.js';
import type { CrewContext } from './context.js';
import { isSent, type Sent } from './inputs.js';
import type { Operator } from './operators.js';
import { WORKER_PREFIX } from './views.js';
import { acquired, release } from './work.js';

const DEFAULT_TIMEOUT_SECONDS = 60;
/** Calls of one operator that are under way at once. */
const MAX_CALLS = 8;
/** How long one look for tasks waits; new operators and channels are seen after that. */
const LOOK_MS = 2_000;
/** A lease outlives the call by this much, so that its end is recorded under it. */
const MARGIN_MS = 10_000;
const MAX_REPLY_BYTES = 10 * 1024 * 1024;

interface Target {
  readonly id: string;
  readonly channels: readonly string[];
  /** Whom to call for a task of this channel. */
  readonly urlOf: (channel: string) => string;
  readonly config: Sent;
}

/** Calls operators for the tasks of their channels, and settles with what they answer. */
export class OperatorRunner {
  readonly #context: CrewContext;
  readonly #stop = new AbortController();
  readonly #calls = new Set<Promise<void>>();
  readonly #busy = new Map<string, number>();
  #loop: Promise<void> | undefined;

  constructor(context: CrewContext) {
    this.#context = context;
    context.operators.onChange = () => this.start();
  }

  /** Begins to look for tasks, if there is anyone to call. */
  start(): void {
    this.#loop ??= this.#look().finally(() => {
      this.#loop = undefined;
    });
  }

  /** Calls that are under way are given up, and their tasks given back. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#loop?.catch(() => {});
    await Promise.all(this.#calls);
  }

  async #look(): Promise<void> {
    const { desk } = this.#context;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        const targets = await this.#targets();
        if (targets.length === 0) return;
        await Promise.all(targets.map((target) => this.#serve(target)));
      } catch (error) {
        desk.log.warn('tasks for operators could not be leased', { error });
        await pause(desk.clock, LOOK_MS, signal);
      }
    }
  }

  async #targets(): Promise<Target[]> {
    const { desk, operators, options } = this.#context;
    const { virtualOperatorUrl, virtualOperatorToken } = options;
    if (virtualOperatorUrl !== undefined) {
      const channels = (await desk.ledger.channels()).map(({ name }) => name);
      const headers = virtualOperatorToken === undefined ? {} : { Authorization: `Bearer ${virtualOperatorToken}` };
      const urlOf = (channel: string) => `${virtualOperatorUrl}${encodeURIComponent(channel)}`;
      return [{ id: 'virtual', channels: channels.length > 0 ? channels : ['default'], urlOf, config: { headers } }];
    }
    const first = new Map<string, Operator>();
    for (const operator of (await operators.list()).reverse()) if (!first.has(operator.channel)) first.set(operator.channel, operator);
    return [...first.values()]
      .filter(({ isPaused }) => isPaused !== true)
      .map(({ _id, channel, url, requestConfig }) => ({
        id: _id,
        channels: [channel],
        urlOf: () => url,
        config: isSent(requestConfig) ? requestConfig : {},
      }));
  }

  async #serve(target: Target): Promise<void> {
    const { desk } = this.#context;
    const busy = this.#busy.get(target.id) ?? 0;
    if (busy >= MAX_CALLS) return void (await pause(desk.clock, 100, this.#stop.signal));
    const id = `operator_${target.id}`;
    const worker = { id: `${WORKER_PREFIX}${id}`, name: id };
    const leaseMs = this.#timeoutMs(target) + MARGIN_MS;
    const jobs = await desk.lease({
      worker,
      channels: target.channels,
      limit: MAX_CALLS - busy,
      waitMs: LOOK_MS,
      leaseMs,
      signal: this.#stop.signal,
    });
    for (const job of jobs) {
      this.#busy.set(target.id, (this.#busy.get(target.id) ?? 0) + 1);
      const call = this.#run(target, worker, job).finally(() => {
        this.#busy.set(target.id, (this.#busy.get(target.id) ?? 1) - 1);
        this.#calls.delete(call);
      });
      this.#calls.add(call);
    }
  }

  async #run(target: Target, worker: { readonly id: string; readonly name: string }, job: LeasedJob): Promise<void> {
    const { desk } = this.#context;
    try {
      const { task, parents } = await acquired(this.#context, job);
      const sent = await this.#call(target, job, { input: task['input'] ?? null, parents: parents as unknown as Json, taskId: job.id });
      const record = await desk.ledger.get(job.id);
      if (this.#stop.signal.aborted) return desk.giveBack(worker, [job], 'the Master stops');
      if (record !== undefined) await release(this.#context, worker, { ...record, lease: job.lease }, sent);
    } catch (error) {
      desk.log.warn('a task of an operator could not be released', { task: job.id, error });
    }
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
      const { response, text } = await within(limits, async (signal) => {
        const response = await fetch(url, { ...request, signal });
        return { response, text: await response.text() };
      });
      if (text.length > MAX_REPLY_BYTES) return { error: `The reply has more than ${MAX_REPLY_BYTES} bytes` };
      const reply = parsed(text);
      if (reply instanceof JsonRefused) return { error: `The reply cannot be used: ${reply.message}` };
      if (response.ok) return isSent(reply) ? reply : {};
      const told = isSent(reply) ? (reply['error'] ?? reply['message']) : undefined;
      return { error: told ?? `Request failed with status code ${response.status}` };
    } catch (error) {
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
      return { error: cause instanceof Error ? cause.message : String(cause) };
    }
  }

  #timeoutMs({ config }: Target): number {
    const own = Number(config['timeout']);
    return own > 0 ? own : (this.#context.options.abandonedSeconds ?? DEFAULT_TIMEOUT_SECONDS) * 1_000;
  }
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
