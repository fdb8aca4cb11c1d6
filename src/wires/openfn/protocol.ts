import type { Json } from '../../job/job.js';

/**
 * A workflow of OpenFn as the runner `openfn` takes it: the answer to its question `run`, or the data of a job whose source has no
 * exchange. The members mean what they mean in OpenFn's execution plans.
 */
export interface OpenfnRun {
  readonly id: string;
  readonly name?: string;
  readonly steps: readonly OpenfnStep[];
  /** Id of the first step; default: the first in the list. */
  readonly start?: string;
  readonly input: Json;
  /** Source text of functions that all steps share. */
  readonly globals?: string;
  /** Merged into the configuration of every step. */
  readonly credentials?: { readonly [name: string]: Json };
  readonly options: OpenfnRunOptions;
}

export interface OpenfnStep {
  readonly id: string;
  readonly name?: string;
  /** Source text; a step without any only leads to others. */
  readonly expression?: string;
  /** npm specifiers such as `@openfn/language-http@7.2.10`. */
  readonly adaptors?: readonly string[];
  /** The id of a credential, or one itself. */
  readonly configuration?: string | { readonly [name: string]: Json };
  readonly state?: Json;
  readonly next?: { readonly [step: string]: OpenfnEdge };
}

/** Conditions are `on_job_success`, `on_job_failure`, or JavaScript over `state`. */
export type OpenfnEdge = boolean | { readonly condition?: string | boolean; readonly disabled?: boolean };

/** What is absent is as the runner's owner set it. */
export interface OpenfnRunOptions {
  readonly timeoutMs?: number;
  readonly memoryMb?: number;
  /** Of a step's state as JSON; a larger one is withheld from the source. Fractions are allowed, 0 withholds everything. */
  readonly payloadLimitMb?: number;
  /** Of one log line. */
  readonly logLimitMb?: number;
  /** Of a step's state; a larger one ends the run. */
  readonly stateLimitMb?: number;
  /** `debug`, `info`, `default`, `none`. */
  readonly jobLogLevel?: string;
  readonly sanitize?: string;
}

/** `run` is answered with an OpenfnRun, `credential` with its body. */
export type OpenfnQuestion = { readonly ask: 'run' } | { readonly ask: 'credential'; readonly id: string };

/** What happens in a run, in order. `at`: microseconds since the epoch, as decimal text. */
export type OpenfnEvent =
  | { readonly event: 'start'; readonly at: string; readonly versions: { readonly [name: string]: string | readonly string[] } }
  | { readonly event: 'step-start'; readonly at: string; readonly step: string }
  | OpenfnStepEnd
  | OpenfnLogLine
  | { readonly event: 'end'; readonly at: string; readonly state: Json }
  /** The run as a whole went wrong: nothing comes after it. */
  | { readonly event: 'failed'; readonly at: string; readonly error: OpenfnError };

export interface OpenfnStepEnd {
  readonly event: 'step-end';
  readonly at: string;
  readonly step: string;
  readonly durationMs: number;
  readonly threadId?: number;
  /** Bytes; only of steps without an error. */
  readonly mem?: { readonly job: number; readonly system: number };
  /** Absent if the step gave back none. */
  readonly state?: Json;
  /** The steps that run because of this one. */
  readonly next: readonly string[];
  /** The state is larger than the limit. */
  readonly withheld: boolean;
  readonly error?: OpenfnError;
}

export interface OpenfnLogLine {
  readonly event: 'log';
  readonly at: string;
  /** `debug`, `info`, `warn`, `error`, `success`, `always`. */
  readonly level: string;
  /** `RTE` engine, `VER` versions, `R/T` runtime, `JOB` job code, `ADA` adaptor. */
  readonly source: string;
  readonly message: readonly Json[];
}

export interface OpenfnError {
  readonly name?: string;
  readonly type?: string;
  readonly subtype?: string;
  /** `fail`, `crash`, `kill` or `exception`. */
  readonly severity?: string;
  readonly message: string;
}
