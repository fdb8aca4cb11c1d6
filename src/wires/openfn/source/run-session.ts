import type { Clock, Timer } from '../../../clock.js';
import type { Json, Outcome } from '../../../job/job.js';
import type { Exchange } from '../../../job/source.js';
import { parseJson } from '../../../kit/json.js';
import type { Log } from '../../../log.js';
import { HeldLease } from '../../../sources/held-lease.js';
import { version } from '../../../version.js';
import { LightningError } from '../errors.js';
import type { OpenfnError, OpenfnEvent, OpenfnLogLine, OpenfnQuestion, OpenfnRun, OpenfnStepEnd } from '../protocol.js';
import { Channel } from './channel.js';
import { EventWriter } from './event-writer.js';
import { MAX_FRAME_BYTES } from './frames.js';
import type { SourceSettings } from './options.js';
import { type ReadPlan, readPlan } from './plan.js';
import { Scrubber } from './scrub.js';
import { type LightningSocket, ReplyError } from './socket.js';
import { type ExitReason, reasonOf, Steps } from './steps.js';

export interface ClaimedRun {
  readonly id: string;
  readonly token: string;
}

export interface RunSessionOptions {
  readonly run: ClaimedRun;
  readonly settings: SourceSettings;
  readonly socket: LightningSocket;
  readonly clock: Clock;
  readonly log: Log;
  /** Called when the server knows how the run ended, or will never know. */
  readonly onOver: () => void;
}

/** How the run ended, for `run:complete`. */
interface Ending {
  readonly reason: ExitReason;
  readonly at: string;
  readonly state?: Json;
}

const FETCH_TRIES = 3;

/**
 * A run of Lightning as a lease. Nothing about it is on disk.
 *
 * Life: claimed → joined, when the runner requests the run → events are sent → completed → over. A run that was never joined need not be
 * given back: the server waits half a minute for that and then gives it to another worker. A lost connection changes nothing; if the server
 * no longer knows the run on the next one, the lease is lost.
 */
export class RunSession extends HeldLease {
  readonly exchange: Exchange;
  readonly #options: RunSessionOptions;
  readonly #scrubber = new Scrubber();
  readonly #credentials = new Map<string, Promise<unknown>>();
  #channel: Channel | undefined;
  #writer: EventWriter | undefined;
  #plan: ReadPlan | undefined;
  #steps = new Steps(undefined, [], true);
  #payloadLimitMb: number;
  #ending: Ending | undefined;
  #over = false;

  constructor(options: RunSessionOptions) {
    const job = { id: options.run.id, channel: 'openfn', data: null, attempt: 1, timeoutMs: 0 };
    super({ job, runner: 'openfn', startedAt: options.clock.now() }, async (outcome) => this.#complete(outcome));
    this.#options = options;
    this.#payloadLimitMb = options.settings.payloadLimitMb;
    this.exchange = { ask: (question) => this.#ask(question as OpenfnQuestion), tell: (event) => this.#onEvent(event as OpenfnEvent) };
    this.#scrubber.learn(options.run.token);
  }

  #complete(outcome: Outcome): void {
    const writer = this.#writer;
    if (writer === undefined) {
      this.#end();
      return;
    }
    const ending = this.#ending ?? this.#endingOf(outcome);
    this.#logEnding(ending, writer);
    writer.write('run:complete', this.#completion(ending), () => this.#end());
  }

  /** Ends the session because the source closes; pending events are discarded. */
  drop(): void {
    this.lose();
    this.#end();
  }

  #ask(question: OpenfnQuestion): Promise<unknown> {
    return question.ask === 'run' ? this.#begin() : this.#credential(question.id);
  }

  async #begin(): Promise<OpenfnRun> {
    const { run, settings, socket, clock, log } = this.#options;
    let why = 'its channel could not be joined in time';
    const channel = new Channel(socket, {
      topic: `run:${run.id}`,
      params: { token: run.token },
      joinMs: settings.messageMs,
      clock,
      alwaysRejoins: false,
      onRefused: (error) => {
        why = error.message;
        this.#giveUp(why);
      },
    });
    this.#channel = channel;
    // Without a connection the first join would wait forever, while the server gives the run to another worker.
    const deadline: Timer = clock.after(settings.messageMs, () => channel.leave(), { unref: true });
    const joined = await channel.joined();
    deadline.cancel();
    if (!joined) throw new LightningError('openfn-run-lost', why);
    this.#writer = new EventWriter({ ...settings, runId: run.id, channel, clock, log: log.with({ run: run.id }) });

    const extras = { ...settings, token: run.token };
    const plan = await this.#orFail('PlanError', 'Failed to load plan: ', async () =>
      readPlan(await this.#fetch('fetch:plan', {}), extras),
    );
    this.#plan = plan;
    const { dataclipId: id } = plan;
    const input = await this.#orFail('DataClipError', `Failed to load dataclip ${id}: `, async () =>
      id === undefined ? {} : readDataclip(await this.#fetch('fetch:dataclip', { id })),
    );
    this.#steps = new Steps(id, plan.firstJobs, plan.wantsStates);
    const ready = plan.run(input);
    this.#payloadLimitMb = ready.options.payloadLimitMb ?? this.#payloadLimitMb;
    for (const { configuration } of ready.steps) if (typeof configuration === 'object') this.#scrubber.learn(configuration);
    return ready;
  }

  /** Runs an action whose failure becomes the end of the run. */
  async #orFail<T>(type: string, prefix: string, action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (thrown) {
      const message = `${prefix}${thrown instanceof Error ? thrown.message : thrown}`;
      this.#ending = { reason: reasonOf({ severity: 'exception', type, message }), at: this.#now() };
      throw new LightningError('openfn-run-failed', message);
    }
  }

  #credential(id: string): Promise<unknown> {
    const fetched = this.#credentials.get(id) ?? this.#fetch('fetch:credential', { id });
    this.#credentials.set(id, fetched);
    return fetched.then((body) => {
      this.#scrubber.learn(body);
      return body;
    });
  }

  /** Rejects with an Error that names the request and the server's reason. */
  async #fetch(event: string, payload: unknown): Promise<unknown> {
    for (let tries = 1; ; tries += 1) {
      const channel = this.#channel;
      if (channel === undefined || !(await channel.joined())) throw new Error(`[${event}] the run was lost`);
      try {
        return await channel.request(event, payload, this.#options.settings.messageMs);
      } catch (thrown) {
        const lost = thrown instanceof ReplyError && thrown.why === 'lost';
        if (!lost || tries === FETCH_TRIES) throw new Error(`[${event}] ${thrown instanceof Error ? thrown.message : thrown}`);
      }
    }
  }

  #onEvent(event: OpenfnEvent): void {
    const writer = this.#writer;
    if (writer === undefined || this.isOver) return;
    switch (event.event) {
      case 'start':
        writer.write('run:start', { versions: { worker: version, ...event.versions }, timestamp: event.at });
        this.#line(writer, { source: 'RTE', message: [`Payload limit: ${this.#payloadLimitMb}mb`], at: event.at });
        this.#line(writer, { source: 'VER', message: [describeVersions({ worker: version, ...event.versions })], at: event.at });
        break;
      case 'step-start':
        writer.write('step:start', this.#steps.start(event.step, event.at));
        break;
      case 'step-end':
        this.#endStep(writer, event);
        break;
      case 'log':
        this.#line(writer, event);
        break;
      case 'end':
        this.#ending = { reason: this.#scrubbed(this.#steps.reason), at: event.at, state: event.state };
        break;
      case 'failed':
        this.#fail(writer, event.error, event.at);
    }
  }

  #endStep(writer: EventWriter, event: OpenfnStepEnd): void {
    const payload = this.#steps.end(event);
    if (payload === undefined) return;
    const text = 'The output of this step exceeds the payload limit: it is withheld from the server';
    if (event.withheld) this.#line(writer, { source: 'R/T', message: [text], at: event.at }, payload['step_id']);
    writer.write('step:complete', this.#scrubbed(payload));
  }

  #fail(writer: EventWriter, error: OpenfnError, at: string): void {
    for (const payload of this.#steps.interrupt(error, at)) writer.write('step:complete', this.#scrubbed(payload));
    this.#ending = { reason: this.#scrubbed(reasonOf(error)), at };
  }

  #line(
    writer: EventWriter,
    { source, level = 'info', message, at }: Partial<OpenfnLogLine> & Pick<OpenfnLogLine, 'source' | 'message' | 'at'>,
    stepId: unknown = this.#steps.current,
  ): void {
    if (message.length === 0) return;
    const clean = message.map((part) => this.#scrubber.json(part));
    writer.log({ message: clean, source, level, timestamp: at, ...(stepId !== undefined && { step_id: stepId }) });
  }

  /** Errors may quote the secret values that caused them. */
  #scrubbed<T extends object>(payload: T): T {
    const { error_message: message } = payload as Partial<ExitReason>;
    return typeof message === 'string' ? { ...payload, error_message: this.#scrubber.text(message) } : payload;
  }

  /** Ending of a run whose end the engine did not report. */
  #endingOf(outcome: Outcome): Ending {
    const type = outcome.state === 'failed' ? outcome.error.code : 'WorkerStopped';
    const message = outcome.state === 'failed' ? outcome.error.message : 'The worker was stopped before the run had ended';
    const error = { severity: 'exception', type, message };
    if (this.#writer !== undefined) this.#fail(this.#writer, error, this.#now());
    return { reason: this.#scrubbed(reasonOf(error)), at: this.#now() };
  }

  #logEnding({ reason }: Ending, writer: EventWriter): void {
    const line = { source: 'R/T', at: this.#now() };
    this.#line(writer, { ...line, message: [`Run complete with status: ${reason.reason}`] });
    if (reason.reason !== 'success')
      this.#line(writer, { ...line, level: 'error', message: [`${reason.error_type}: ${reason.error_message || 'unknown'}`] });
  }

  #completion({ reason, at, state }: Ending): Record<string, unknown> {
    const payload = { ...reason, timestamp: at };
    if (state === undefined) return payload;
    const dataclip = this.#steps.finalDataclip;
    const kept = this.#plan?.wantsStates !== false && !this.#steps.anyLeafWithheld;
    return {
      ...payload,
      ...((kept || this.#options.settings.sendFinalState) && { final_state: state }),
      ...(dataclip !== undefined && { final_dataclip_id: dataclip }),
    };
  }

  /** Now, in microseconds since the epoch. */
  #now(): string {
    return `${this.#options.clock.wall()}000`;
  }

  #giveUp(why: string): void {
    if (this.#over) return;
    this.#options.log.warn('a run was lost', {
      run: this.job.id,
      why,
      hint: 'No action needed if it was cancelled on the server. Otherwise check the connection to the Lightning server, and start the run again there.',
    });
    this.stop();
    if (this.isOver) this.#end();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#writer?.stop();
    this.#channel?.leave();
    this.#options.onOver();
  }
}

function readDataclip(response: unknown): Json {
  const bytes = Buffer.isBuffer(response) ? response : Array.isArray(response) ? Buffer.from(response as number[]) : undefined;
  if (bytes === undefined) throw new Error('[fetch:dataclip] the response has no body');
  return parseJson(bytes, { maxBytes: MAX_FRAME_BYTES, exact: true }) as Json;
}

function describeVersions(versions: Readonly<Record<string, string | readonly string[]>>): string {
  const lines = Object.entries(versions).map(([name, of]) => `    ${name.padEnd(28)} ${typeof of === 'string' ? of : of.join(', ')}`);
  return ['Versions:', ...lines].join('\n');
}
