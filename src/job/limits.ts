import { type JsonLimits, MAX_VALUE_DEPTH } from '../kit/json.js';

/** Sizes and times that Master and Worker enforce on each other. */

/** Maximum size of one message between peers, as JSON text in UTF-8: a job's data and an outcome's output must fit in it. */
export const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
/** Maximum size of a job's `data` and of an outcome's `output`, each as JSON text in bytes. */
export const MAX_JOB_DATA_BYTES = 8 * 1024 * 1024;
/** Maximum number of values in one message: in memory, a number takes eight bytes and an empty object some sixty. */
export const MAX_MESSAGE_VALUES = 5_000_000;
/** Limits of a message; user values in it are limited by `VALUE_LIMITS`. */
export const MESSAGE_LIMITS: JsonLimits = { maxBytes: MAX_MESSAGE_BYTES, maxItems: MAX_MESSAGE_VALUES };
/** Limits of values from people and tasks: data, outputs, `meta`. */
export const VALUE_LIMITS: JsonLimits = { maxBytes: MAX_JOB_DATA_BYTES, maxDepth: MAX_VALUE_DEPTH };
/** The same for values written by users and other programs: numbers that would be rounded are refused. */
export const GIVEN_MESSAGE: JsonLimits = { ...MESSAGE_LIMITS, exact: true };
export const GIVEN_VALUE: JsonLimits = { ...VALUE_LIMITS, exact: true };
/** Maximum size of one value of `progress()`, as JSON text in bytes. */
export const MAX_PROGRESS_BYTES = 64 * 1024;
/** Lines of a job's log are truncated to this many characters. */
export const MAX_LOG_LINE_CHARS = 8 * 1024;

/** Maximum number of reports (lines and progress) in one message, or with one outcome. */
export const MAX_REPORTS = 1_000;
/** Maximum size of those reports: they must fit in a message together with an outcome of the largest size. */
export const MAX_REPORT_BYTES = 1024 * 1024;

/** The channel of a job that names none. */
export const DEFAULT_CHANNEL = 'default';

export const MAX_JOB_ID_CHARS = 200;
export const MAX_CHANNEL_CHARS = 100;

export const DEFAULT_ATTEMPTS = 3;
export const DEFAULT_BACKOFF_MS = 1_000;
export const MAX_BACKOFF_MS = 3_600_000;
export const DEFAULT_TIMEOUT_MS = 3_600_000;
/** Interval of a worker's beat, which renews all its leases at once: three times per DEFAULT_LEASE_MS. */
export const DEFAULT_BEAT_MS = 10_000;

/** Maximum concurrency that a Worker may announce. */
export const MAX_CONCURRENCY = 1_024;
/** Jobs that a Worker may hold in addition to those it runs, plus as many as it recently settled within PREFETCH_MS. */
export const PREFETCH_JOBS = 8;
/** Covers two round trips of a slow link and the work done meanwhile. */
export const PREFETCH_MS = 250;
/** Maximum number of prefetched jobs. */
export const MAX_PREFETCH_JOBS = 1_000;
/** Maximum number of jobs held by a worker that announces no concurrency: over HTTP, as a client of crew, in a room of queue-xec. */
export const MAX_HELD_JOBS = 1_000;

export const MAX_PRIORITY = 1_000_000;
export const MAX_ATTEMPTS = 1_000_000;
/** The longest delay of a JavaScript timer, just under 25 days. */
export const MAX_TIMEOUT_MS = 2_147_483_647;
/**
 * Grace period for reporting a run that ended at its time limit, before the Master ends it itself: longer than a beat, and than a container
 * needs to stop.
 */
export const TIMEOUT_GRACE_MS = 15_000;
/** How long a leased job may wait in its Worker, for files, dependencies or a slot, before its run time counts. */
export const MAX_WAIT_MS = 3_600_000;
/** One year: how far ahead a job may be scheduled, and how old a reused outcome may be. */
export const MAX_DELAY_MS = 31_536_000_000;
/** One day: how long a run may hold its workgroup or delay its children. */
export const MAX_HOLD_MS = 86_400_000;

/** Maximum length of a label, such as `gpu` or `arch=arm64`. */
export const MAX_LABEL_CHARS = 64;
export const MAX_LABELS = 64;
/** Maximum number of parents of a job. */
export const MAX_PARENTS = 10_000;
/** Maximum number of children that a run may create. */
export const MAX_CHILDREN = 10_000;
/** Maximum number of jobs and of parent references in a list with parents, which is added in one transaction. */
export const MAX_GRAPH_JOBS = 10_000;
export const MAX_GRAPH_EDGES = 50_000;
export const MAX_WEIGHT = 1_000_000;
/** Maximum size of `meta` of a job or group, as JSON text in bytes. */
export const MAX_META_BYTES = 64 * 1024;
/** The latest instant of a JavaScript Date, in milliseconds since the epoch. */
export const MAX_INSTANT = 8_640_000_000_000_000;
/** How many files a job may carry, and the size of one in bytes. */
export const MAX_FILES = 1_000;
export const MAX_FILE_BYTES = 1024 ** 4;
