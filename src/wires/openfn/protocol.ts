import type { Json } from '../../job/job.js';

/**
 * An OpenFn workflow in the format of the runner `openfn`: the source's reply to the request `run`, or the data of a job whose source has
 * no exchange. Fields mean the same as in OpenFn's execution plans.
 */
export interface OpenfnRun {
  readonly id: string;
  readonly name?: string;
  readonly steps: readonly OpenfnStep[];
  /** Id of the first step; default: the first in the list. */
  readonly start?: string;
  readonly input: Json;
  /** Source text of functions shared by all steps. */
  readonly globals?: string;
  /** Merged into the configuration of every step. */
  readonly credentials?: { readonly [name: string]: Json };
  readonly options: OpenfnRunOptions;
}

export interface OpenfnStep {
  readonly id: string;
  readonly name?: string;
  /** Source text; a step without any only leads to other steps. */
  readonly expression?: string;
  /** npm specifiers such as `@openfn/language-http@7.2.10`. */
  readonly adaptors?: readonly string[];
  /** Id of a credential, or the credential itself. */
  readonly configuration?: string | { readonly [name: string]: Json };
  readonly state?: Json;
  readonly next?: { readonly [step: string]: OpenfnEdge };
}

/** An edge to another step. Conditions are `on_job_success`, `on_job_failure`, or a JavaScript expression over `state`. */
export type OpenfnEdge = boolean | { readonly condition?: string | boolean; readonly disabled?: boolean };

/** Options of one run; the runner's own settings apply where they are absent. */
export interface OpenfnRunOptions {
  readonly timeoutMs?: number;
  readonly memoryMb?: number;
  /** Limit for a step's state as JSON in MB; a larger state is withheld from the source. May be fractional; 0 withholds every state. */
  readonly payloadLimitMb?: number;
  /** Limit for one log line in MB. */
  readonly logLimitMb?: number;
  /** Limit for a step's state in MB; a larger one ends the run. */
  readonly stateLimitMb?: number;
  /** `debug`, `info`, `default` or `none`. */
  readonly jobLogLevel?: string;
  readonly sanitize?: string;
}

/** Requests of the runner to the source: `run` yields an OpenfnRun, `credential` the credential's body. */
export type OpenfnQuestion = { readonly ask: 'run' } | { readonly ask: 'credential'; readonly id: string };

/** Events of a run, in order. `at` is in microseconds since the epoch, as decimal text. */
export type OpenfnEvent =
  | { readonly event: 'start'; readonly at: string; readonly versions: { readonly [name: string]: string | readonly string[] } }
  | { readonly event: 'step-start'; readonly at: string; readonly step: string }
  | OpenfnStepEnd
  | OpenfnLogLine
  | { readonly event: 'end'; readonly at: string; readonly state: Json }
  /** The run as a whole failed; no further events follow. */
  | { readonly event: 'failed'; readonly at: string; readonly error: OpenfnError };

export interface OpenfnStepEnd {
  readonly event: 'step-end';
  readonly at: string;
  readonly step: string;
  readonly durationMs: number;
  readonly threadId?: number;
  /** Memory in bytes; only for steps without an error. */
  readonly mem?: { readonly job: number; readonly system: number };
  /** Absent if the step returned none. */
  readonly state?: Json;
  /** Ids of the steps that run as a result. */
  readonly next: readonly string[];
  /** Whether the state exceeds the limit. */
  readonly withheld: boolean;
  readonly error?: OpenfnError;
}

export interface OpenfnLogLine {
  readonly event: 'log';
  readonly at: string;
  /** `debug`, `info`, `warn`, `error`, `success` or `always`. */
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
