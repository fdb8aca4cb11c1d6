import type { Json } from '../kit/json.js';
import type { JobFiles } from './files.js';
import {
  DEFAULT_ATTEMPTS,
  DEFAULT_BACKOFF_MS,
  DEFAULT_CHANNEL,
  MAX_ATTEMPTS,
  MAX_BACKOFF_MS,
  MAX_CHANNEL_CHARS,
  MAX_DELAY_MS,
  MAX_INSTANT,
  MAX_JOB_DATA_BYTES,
  MAX_JOB_ID_CHARS,
  MAX_LABEL_CHARS,
  MAX_LABELS,
  MAX_META_BYTES,
  MAX_PARENTS,
  MAX_PRIORITY,
  MAX_TIMEOUT_MS,
} from './limits.js';

/** The type of a field's value, with its limits. */
export type Kind =
  | { readonly kind: 'text'; readonly maxChars: number }
  | { readonly kind: 'texts' | 'labels'; readonly max: number; readonly maxChars: number }
  | { readonly kind: 'integer'; readonly min: number; readonly max: number }
  /** In milliseconds. */
  | { readonly kind: 'duration'; readonly max: number }
  /** In milliseconds since the epoch. */
  | { readonly kind: 'instant'; readonly max: number }
  /** `weight`: a number from 0 to MAX_WEIGHT with at most six decimals. `flag`: true or false. */
  | { readonly kind: 'weight' | 'flag' }
  /** `byIndex`: the column stores the index in `of` instead of the text. */
  | { readonly kind: 'choice'; readonly of: readonly string[]; readonly byIndex?: true }
  | { readonly kind: 'json'; readonly maxBytes: number }
  /** Files by name. */
  | { readonly kind: 'files' };

export type FieldSpec = Kind & {
  readonly required?: true;
  readonly default?: Json;
  /** The default in words for docs/jobs.md, if it is not a value of this table. */
  readonly defaultText?: string;
  /** The column of the table `job` that holds this field and nothing else. Without one, the ledger's code decides where the value goes. */
  readonly column?: string;
  /** Every statement about the end of a run reads this column (`RunRow`). */
  readonly inRun?: true;
  /** Where it is shown: `summary` in every list of jobs, `record` only in the job's own record. */
  readonly shown?: 'summary' | 'record';
  /** Whether it can be changed later; with `clear`, null also removes it. */
  readonly change?: 'set' | 'clear';
  /** The flag of `peerwork push`, and its help text. */
  readonly flag?: readonly [flag: string, meaning: string];
  /** Label shown next to the value; derived from the name if absent. */
  readonly label?: string;
  /** The section of docs/jobs.md that explains it. */
  readonly section?: string;
};

/**
 * The single declaration of every field of a job. `JobInput` and the other types below, the validation (job-input.ts), the JSON Schemas of
 * the HTTP API, the ledger's columns (ledger/job-columns.ts), the flags of `peerwork push`, the views of `peerwork job` and the dashboard,
 * and the table in docs/jobs.md (whose texts are the comments here) all derive from it. To add a field, add it here and, if it has a
 * column, a migration; then write what acts on it, and its test.
 */
export const jobFields = {
  /** The task's input. */
  data: { kind: 'json', maxBytes: MAX_JOB_DATA_BYTES, required: true, column: 'data', shown: 'record', change: 'set' },
  /** Chosen by the user; pushing an id again adds nothing. */
  id: { kind: 'text', maxChars: MAX_JOB_ID_CHARS, defaultText: 'made up', flag: ['--id <id>', 'Its id.'] },
  /** Selects the task: `--task channel=folder`. */
  channel: {
    kind: 'text',
    maxChars: MAX_CHANNEL_CHARS,
    default: DEFAULT_CHANNEL,
    column: 'channel',
    shown: 'summary',
    change: 'set',
    flag: ['--channel <name>', 'Its channel.'],
  },
  /** Higher runs first; among equals the older one. */
  priority: {
    kind: 'integer',
    min: -MAX_PRIORITY,
    max: MAX_PRIORITY,
    default: 0,
    column: 'priority',
    shown: 'summary',
    change: 'set',
    flag: ['--priority <number>', 'Higher goes first.'],
  },
  /** Wall time of one run; 0 for no limit. The Master ends it too. */
  timeoutMs: {
    kind: 'duration',
    max: MAX_TIMEOUT_MS,
    defaultText: '3,600,000 (one hour)',
    column: 'timeout_ms',
    shown: 'record',
    section: 'time-limits',
  },
  /** Runs that may fail before the job fails. */
  attempts: { kind: 'integer', min: 1, max: MAX_ATTEMPTS, default: DEFAULT_ATTEMPTS, column: 'attempts_allowed', inRun: true },
  /** Wait after the first failed run; doubles with each further one, with jitter, up to an hour. */
  backoffMs: {
    kind: 'duration',
    max: MAX_BACKOFF_MS,
    default: DEFAULT_BACKOFF_MS,
    column: 'backoff_ms',
    inRun: true,
    shown: 'record',
    change: 'set',
  },
  /** `fixed`: the wait does not grow. */
  backoff: {
    kind: 'choice',
    of: ['exponential', 'fixed'],
    byIndex: true,
    default: 'exponential',
    column: 'backoff_fixed',
    inRun: true,
    shown: 'record',
    change: 'set',
  },
  /** If a run's Worker is lost, the job runs again, or fails at once: for work that must never be done twice. */
  workerLoss: {
    kind: 'choice',
    of: ['retry', 'fail'],
    byIndex: true,
    default: 'retry',
    column: 'worker_loss',
    inRun: true,
    shown: 'record',
    change: 'set',
    section: 'runs-attempts-leases',
  },
  /** Delay from now before it may run. */
  delayMs: {
    kind: 'duration',
    max: MAX_DELAY_MS,
    default: 0,
    flag: ['--delay <time>', 'Not before this long from now: 500ms, 90s, 15m, 12h, 7d.'],
  },
  /** Earliest instant at which it may run, up to a year from now; instead of `delayMs`. */
  runAt: { kind: 'instant', max: MAX_INSTANT, column: 'run_at', inRun: true, shown: 'summary', change: 'clear', label: 'Not before' },
  /** Shown to people instead of the id. */
  name: { kind: 'text', maxChars: MAX_JOB_ID_CHARS, column: 'name', shown: 'summary', change: 'clear' },
  /** The group it belongs to; created when first named. */
  group: { kind: 'text', maxChars: MAX_JOB_ID_CHARS, shown: 'summary', flag: ['--group <id>', 'Its group.'], section: 'groups' },
  /** Ids of jobs that must end first: in the ledger already, or anywhere in the same push. This job receives their outputs. */
  parents: {
    kind: 'texts',
    max: MAX_PARENTS,
    maxChars: MAX_JOB_ID_CHARS,
    default: [],
    flag: ['--after <ids>', 'Its parents, with commas.'],
    section: 'graphs',
  },
  /** If a parent fails or is cancelled, this job fails too, keeps waiting, or runs anyway. */
  parentFailure: {
    kind: 'choice',
    of: ['fail', 'wait', 'run'],
    defaultText: 'the group’s, else `fail`',
    column: 'parent_failure',
    shown: 'record',
    section: 'graphs',
  },
  /** Jobs that share an external limit, such as an API key. They can be held together, and limited in number and rate. */
  workgroup: {
    kind: 'text',
    maxChars: MAX_JOB_ID_CHARS,
    shown: 'summary',
    change: 'clear',
    flag: ['--workgroup <id>', 'Its workgroup.'],
    section: 'workgroups-limits-outside',
  },
  /** Unfinished jobs of one channel with the same key are duplicates: one runs, all get its outcome. */
  key: {
    kind: 'text',
    maxChars: MAX_JOB_ID_CHARS,
    column: 'merge_key',
    inRun: true,
    shown: 'summary',
    change: 'clear',
    flag: ['--key <text>', 'Its key.'],
    section: 'duplicates',
  },
  /** Takes the output of a job with the same channel and key that completed at most this long ago. */
  keyWindowMs: { kind: 'duration', max: MAX_DELAY_MS, section: 'duplicates' },
  /** Its share of the group's progress. */
  weight: { kind: 'weight', default: 1, shown: 'summary', change: 'set' },
  /** Kept when its group is reset; the others are deleted. */
  seed: { kind: 'flag', default: false, column: 'seed', shown: 'record', change: 'set' },
  /** Files that its run receives, by name; each is in the Master's file store, as `master.push`, `peerwork push` and `PUT /v1/files` bring it there. */
  files: { kind: 'files', column: 'files', shown: 'record', section: 'files' },
  /** Labels that the Worker must have: `gpu`, `arch=arm64`, `isolation=bwrap`. */
  requires: {
    kind: 'labels',
    max: MAX_LABELS,
    maxChars: MAX_LABEL_CHARS,
    default: [],
    column: 'requires',
    shown: 'record',
    section: 'labels',
  },
  /** Held permanently by exactly one Worker: however a run ends, the job waits for the next; only cancelling ends it. */
  persistent: { kind: 'flag', default: false, column: 'persistent', inRun: true, shown: 'record' },
  /** Notes for people who look at the job; not sent to Workers. */
  meta: { kind: 'json', maxBytes: MAX_META_BYTES, column: 'meta', shown: 'record', change: 'clear' },
} as const satisfies Readonly<Record<string, FieldSpec>>;

type Table = typeof jobFields;
export type JobField = keyof Table;

/** Field names in the order of the table. */
export const jobFieldNames = Object.keys(jobFields) as readonly JobField[];

/** Returns a field's entry with its general type, for code that iterates over all fields. */
export function fieldSpec(field: JobField): FieldSpec {
  return jobFields[field];
}

interface Values {
  readonly text: string;
  readonly texts: readonly string[];
  readonly labels: readonly string[];
  readonly integer: number;
  readonly duration: number;
  readonly instant: number;
  readonly weight: number;
  readonly flag: boolean;
  readonly json: Json;
  readonly files: JobFiles;
}

type ValueOf<S> = S extends { readonly kind: 'choice'; readonly of: readonly (infer C)[] }
  ? C
  : S extends { readonly kind: infer K extends keyof Values }
    ? Values[K]
    : never;

/** The type of a field's value as users pass and see it. */
export type FieldValue<F extends JobField> = ValueOf<Table[F]>;

/** The fields whose table entry extends `Facts`. */
export type FieldsWith<Facts> = { [F in JobField]: Table[F] extends Facts ? F : never }[JobField];
type Required = FieldsWith<{ readonly required: true }>;
/** Fields that have a value in every job. */
export type Settled = Required | FieldsWith<{ readonly default: unknown }>;
type Clearable = FieldsWith<{ readonly change: 'clear' }>;

// Over `keyof T` instead of `JobField`, so that the comments of the table carry over to the fields of these types.
type Given<T, F extends keyof T> = { readonly [N in F]: ValueOf<T[N]> };
type MaybeGiven<T, F extends keyof T> = { readonly [N in F]?: ValueOf<T[N]> };
type MaybeCleared<T, F extends keyof T> = { readonly [N in F]?: ValueOf<T[N]> | null };

/** A job as a user passes it to a Master. */
export interface JobInput extends Given<Table, Required>, MaybeGiven<Table, Exclude<JobField, Required>> {}

/** The stored form of a validated value: JSON as text, labels as written by `labelSet`. */
type CheckedValue<F extends JobField> = Table[F]['kind'] extends 'json' | 'labels' ? string : FieldValue<F>;

/** A validated job with the defaults filled in. */
export type CheckedJob = { readonly [F in JobField]: CheckedValue<F> | (F extends Settled ? never : undefined) };

/** The fields of a job in responses; those without a default may be absent. */
export type ShownFields<S extends 'summary' | 'record', F extends JobField = FieldsWith<{ readonly shown: S }>> = Given<
  Table,
  Extract<F, Settled>
> &
  MaybeGiven<Table, Exclude<F, Settled>>;

/** The fields that can be changed while a job does not run; null removes a value. */
export type ChangedFields = MaybeGiven<Table, FieldsWith<{ readonly change: 'set' }>> & MaybeCleared<Table, Clearable>;

export type ParentFailure = FieldValue<'parentFailure'>;
