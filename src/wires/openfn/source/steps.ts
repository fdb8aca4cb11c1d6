import { randomUUID } from 'node:crypto';
import type { Json } from '../../../job/job.js';
import type { OpenfnError, OpenfnStepEnd } from '../protocol.js';

const SUCCESS: ExitReason = { reason: 'success', error_type: null, error_message: null };

const severities = ['fail', 'crash', 'kill', 'exception'] as const;

type Payload = Record<string, unknown>;

/**
 * The steps of a run as the server sees them: each has an id of its own, an input dataclip and an output dataclip. A step that several
 * others lead to runs once for each of them, in their order.
 */
export class Steps {
  readonly #wantsStates: boolean;
  /** By job: the dataclips waiting to become its input; undefined for one that was withheld. */
  readonly #inputs = new Map<string, (string | undefined)[]>();
  readonly #open = new Map<string, string>();
  #current: string | undefined;
  #leaves: { readonly reason: ExitReason; readonly dataclip: string | undefined }[] = [];

  constructor(dataclip: string | undefined, firstJobs: readonly string[], wantsStates: boolean) {
    this.#wantsStates = wantsStates;
    for (const job of firstJobs) this.#inputs.set(job, [dataclip]);
  }

  /** Id of the step that is running. */
  get current(): string | undefined {
    return this.#current;
  }

  start(job: string, at: string): Payload {
    const id = randomUUID();
    this.#current = id;
    this.#open.set(job, id);
    const input = this.#inputs.get(job)?.shift();
    return { step_id: id, job_id: job, timestamp: at, ...(input !== undefined && { input_dataclip_id: input }) };
  }

  /** Returns undefined for a step that was never started or has ended already, because the server accepts only one end. */
  end({ step: job, at, durationMs, threadId, mem, state, next, withheld, error }: OpenfnStepEnd): Payload | undefined {
    const id = this.#open.get(job);
    if (id === undefined) return undefined;
    this.#close(job, id);
    const reason = stepReason(job, state, error);
    const dataclip = withheld ? undefined : randomUUID();
    for (const each of next) this.#inputs.set(each, [...(this.#inputs.get(each) ?? []), dataclip]);
    if (next.length === 0) this.#leaves.push({ reason, dataclip });
    return {
      step_id: id,
      job_id: job,
      ...reason,
      timestamp: at,
      duration: durationMs,
      ...(threadId !== undefined && { thread_id: threadId }),
      ...(mem !== undefined && { mem }),
      ...(dataclip === undefined ? { output_dataclip_error: 'DATACLIP_TOO_LARGE' } : { output_dataclip_id: dataclip }),
      ...(dataclip !== undefined && this.#wantsStates && { output_dataclip: JSON.stringify(state ?? {}) }),
      ...webhookResponse(state),
    };
  }

  /** Ends the steps that the end of the run interrupted. */
  interrupt(error: OpenfnError, at: string): Payload[] {
    const ended = [...this.#open].map(([job, id]) => {
      this.#close(job, id);
      return { step_id: id, job_id: job, ...reasonOf(error), timestamp: at, output_dataclip_id: randomUUID(), output_dataclip: '{}' };
    });
    return ended;
  }

  /** How the run ended, as far as its steps decide that. */
  get reason(): ExitReason {
    return this.#leaves.find(({ reason }) => reason.reason === 'fail')?.reason ?? SUCCESS;
  }

  /** Dataclip of the run's result; defined if there is exactly one last step and its state was not withheld. */
  get finalDataclip(): string | undefined {
    return this.#leaves.length === 1 ? this.#leaves[0]?.dataclip : undefined;
  }

  get anyLeafWithheld(): boolean {
    return this.#leaves.some(({ dataclip }) => dataclip === undefined);
  }

  #close(job: string, id: string): void {
    this.#open.delete(job);
    if (this.#current === id) this.#current = undefined;
  }
}

function webhookResponse(state: Json | undefined): Payload {
  if (typeof state !== 'object' || state === null || Array.isArray(state)) return {};
  const { webhookResponse } = state as { readonly webhookResponse?: Json };
  return webhookResponse ? { webhook_response: webhookResponse } : {};
}

export interface ExitReason {
  readonly reason: 'success' | 'fail' | 'crash' | 'kill' | 'exception';
  readonly error_type: string | null;
  readonly error_message: string | null;
}

/** Exit reason for an error that ended a step or the run. */
export function reasonOf({ severity, subtype, type, name, message }: OpenfnError): ExitReason {
  return {
    reason: severities.find((known) => known === severity) ?? 'crash',
    error_type: subtype || type || name || 'Error',
    error_message: message,
  };
}

/** Exit reason of a step that ended. Errors after which the workflow continues are in the state, under `errors`. */
function stepReason(step: string, state: Json | undefined, error: OpenfnError | undefined): ExitReason {
  const recorded = recordedError(step, state);
  if (error !== undefined && !(recorded !== undefined && recorded.name === error.name && recorded.message === error.message))
    return reasonOf(error);
  if (recorded === undefined) return SUCCESS;
  return { reason: 'fail', error_type: recorded.name, error_message: recorded.message };
}

function recordedError(step: string, state: Json | undefined): { readonly name: string; readonly message: string } | undefined {
  const errors = member(state, 'errors');
  const recorded = member(errors, step);
  if (recorded === undefined || recorded === null) return undefined;
  return { name: String(member(recorded, 'name') ?? 'Error'), message: String(member(recorded, 'message') ?? '') };
}

function member(value: Json | undefined, name: string): Json | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  return Object.hasOwn(value, name) ? (value as { readonly [name: string]: Json })[name] : undefined;
}
