import { randomUUID } from 'node:crypto';
import { PeerworkError } from '../../../errors.js';
import type { Lease } from '../../../job/source.js';
import { conceal } from '../../../log.js';
import { HeldLease } from '../../../sources/held-lease.js';
import { LeasedSource } from '../../../sources/leased-source.js';
import type { Outbox } from '../../../sources/outbox.js';
import type { LocalTask, SourceContext, SourceSetup } from '../../../sources/setup.js';
import { DEFAULT_INTERVAL_MS, DEFAULT_NAME, DEFAULT_WATCH_MS } from '../defaults.js';
import { CrewClient } from './client.js';
import { type Call, checkEndpoint, Endpoint } from './endpoint.js';
import type { CrewSourceOptions } from './options.js';
import { Poller } from './poller.js';
import { jobOf } from './task.js';

/** Pending calls allowed per place of the Worker. */
const WAITING_A_PLACE = 4;

/** Takes tasks from a crew server by polling, by being called, or both. Throws `option-invalid`. */
export function crewSource(options: CrewSourceOptions): SourceSetup {
  const { name = DEFAULT_NAME, tasks, url, authorization, endpoint } = options;
  if (Object.keys(tasks).length === 0) throw new PeerworkError('option-invalid', `the source ${name} has no channel to serve`);
  if (url === undefined && endpoint === undefined)
    throw new PeerworkError('option-invalid', `the source ${name} has neither a server nor an endpoint`);
  for (const secret of [authorization?.replace(/^\S+ /, ''), endpoint?.token]) if (secret !== undefined) conceal(secret);
  const client = (now: () => number) =>
    url === undefined ? undefined : new CrewClient({ url, ...(authorization !== undefined && { authorization }) }, now);
  // Validate before anything is opened.
  client(Date.now);
  if (endpoint !== undefined) checkEndpoint(endpoint);
  return {
    name,
    async open(context) {
      const code = new Map<string, LocalTask>();
      for (const [channel, source] of Object.entries(tasks)) code.set(channel, await context.localTask(channel, source));
      const outbox = await context.openOutbox();
      const source = new CrewSource(
        options,
        name,
        context,
        code,
        client(() => context.clock.wall()),
        outbox,
      );
      await source.start();
      return source;
    },
  };
}

class CrewSource extends LeasedSource {
  readonly #code: ReadonlyMap<string, LocalTask>;
  readonly #outbox: Outbox;
  readonly #poller: Poller | undefined;
  readonly #endpoint: Endpoint | undefined;
  readonly #timeoutMs: number;

  constructor(
    options: CrewSourceOptions,
    name: string,
    context: SourceContext,
    code: ReadonlyMap<string, LocalTask>,
    client: CrewClient | undefined,
    outbox: Outbox,
  ) {
    const { clock, log, warning, concurrency } = context;
    super(name, clock);
    this.#code = code;
    this.#outbox = outbox;
    this.#timeoutMs = options.timeoutMs ?? 0;
    if (client !== undefined)
      this.#poller = new Poller({
        ...{ client, code, outbox, clock, log, warning, timeoutMs: this.#timeoutMs },
        workerId: `peerwork-${randomUUID()}`,
        intervalMs: options.intervalMs ?? DEFAULT_INTERVAL_MS,
        watchMs: options.watchMs ?? DEFAULT_WATCH_MS,
        onNews: () => this.wake(),
      });
    if (options.endpoint !== undefined)
      this.#endpoint = new Endpoint({
        ...options.endpoint,
        channels: new Set(code.keys()),
        maxWaiting: concurrency * WAITING_A_PLACE,
        clock,
        onCall: () => this.wake(),
      });
  }

  /** Rejects with `address-unusable`, another code derived from the system error, or `crew-endpoint-unusable`. */
  async start(): Promise<void> {
    try {
      await this.#endpoint?.open();
    } catch (error) {
      await this.#outbox.close();
      throw error;
    }
    this.#poller?.start();
  }

  async flush(signal: AbortSignal): Promise<void> {
    await this.#poller?.flush(signal);
  }

  protected async take(capacity: number, signal: AbortSignal): Promise<Lease[]> {
    // Calls come first: their callers are waiting for the reply.
    const calls = this.#endpoint?.take(capacity) ?? [];
    if (calls.length > 0) return calls.map((call) => this.#open(call));
    return (await this.#poller?.claim(capacity, signal)) ?? [];
  }

  protected override idleMs(): number {
    return this.#poller?.waitMs() ?? Number.POSITIVE_INFINITY;
  }

  protected async end(): Promise<void> {
    await Promise.all([this.#poller?.close(), this.#endpoint?.close()]);
    await this.#outbox.close();
  }

  #open(call: Call): HeldLease {
    const local = this.#code.get(call.channel);
    if (local === undefined) throw new Error(`no code for ${call.channel}`);
    const run = { job: jobOf(call.task, call.channel, this.#timeoutMs), ...local.lease(), startedAt: this.clock.now() };
    const held = new HeldLease(run, async (outcome) => call.respond(outcome));
    if (call.signal.aborted) held.lose();
    call.signal.addEventListener('abort', () => held.lose(), { once: true });
    return held;
  }
}
