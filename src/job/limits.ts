import { type JsonLimits, MAX_VALUE_DEPTH } from '../kit/json.js';

/** Sizes and times that Master and Worker enforce on each other. */

/** One message between peers, JSON text in UTF-8: a job's data and an outcome's output must fit in it. */
export const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
/** `data` of a job and `output` of an outcome, each as JSON text in bytes. */
export const MAX_JOB_DATA_BYTES = 8 * 1024 * 1024;
/** Values in one message: eight bytes of memory for a number, some sixty for an empty object. */
export const MAX_MESSAGE_VALUES = 5_000_000;
/** Limits of a message; a user's own value in it has `VALUE_LIMITS`. */
export const MESSAGE_LIMITS: JsonLimits = { maxBytes: MAX_MESSAGE_BYTES, maxItems: MAX_MESSAGE_VALUES };
/** Data, an output, `meta`: values from people and tasks. */
export const VALUE_LIMITS: JsonLimits = { maxBytes: MAX_JOB_DATA_BYTES, maxDepth: MAX_VALUE_DEPTH };
/** The same for values written by users and other programs: numbers that would be rounded are refused. */
export const GIVEN_MESSAGE: JsonLimits = { ...MESSAGE_LIMITS, exact: true };
export const GIVEN_VALUE: JsonLimits = { ...VALUE_LIMITS, exact: true };
/** One value of `progress()` as JSON text in bytes. */
export const MAX_PROGRESS_BYTES = 64 * 1024;
/** A line of a job's log is cut after this many characters. */
export const MAX_LOG_LINE_CHARS = 8 * 1024;

/** Lines and progress in one message, or together with one outcome … */
export const MAX_REPORTS = 1_000;
/** … and their bytes there: an outcome of the largest size and these must fit into a message. */
export const MAX_REPORT_BYTES = 1024 * 1024;

/** Of a job that does not set it. */
export const DEFAULT_CHANNEL = 'default';

export const MAX_JOB_ID_CHARS = 200;
export const MAX_CHANNEL_CHARS = 100;

export const DEFAULT_ATTEMPTS = 3;
export const DEFAULT_BACKOFF_MS = 1_000;
export const MAX_BACKOFF_MS = 3_600_000;
export const DEFAULT_TIMEOUT_MS = 3_600_000;
/** A worker beats this often for all its leases at once: three times in DEFAULT_LEASE_MS. */
export const DEFAULT_BEAT_MS = 10_000;

/** How many jobs at once a Worker may announce. */
export const MAX_CONCURRENCY = 1_024;
/** Jobs that a Worker may hold in addition to those it runs … */
export const PREFETCH_JOBS = 8;
/** … plus as many as it recently settled in this time: two round trips of a slow link, and the work done meanwhile … */
export const PREFETCH_MS = 250;
/** … but never more than these. */
export const MAX_PREFETCH_JOBS = 1_000;
/** Jobs that a worker may hold if it announces no concurrency: over HTTP, as a client of crew, in a room of queue-xec. */
export const MAX_HELD_JOBS = 1_000;

export const MAX_PRIORITY = 1_000_000;
export const MAX_ATTEMPTS = 1_000_000;
/** The longest that a timer of JavaScript can wait, just under 25 days. */
export const MAX_TIMEOUT_MS = 2_147_483_647;
/** Time for an ended run to be reported before the Master ends it itself: more than a beat, and than a container needs to stop. */
export const TIMEOUT_GRACE_MS = 15_000;
/** How long a leased job may wait in its Worker, for files, dependencies or a slot, before its time counts. */
export const MAX_WAIT_MS = 3_600_000;
/** A year: how far ahead a job may be scheduled, and how old a reused outcome may be. */
export const MAX_DELAY_MS = 31_536_000_000;
/** A day: how long a run may hold its workgroup, or delay its children. */
export const MAX_HOLD_MS = 86_400_000;

/** A label that a job requires and a worker has, such as `gpu` or `arch=arm64`. */
export const MAX_LABEL_CHARS = 64;
export const MAX_LABELS = 64;
/** How many parents a job may name. */
export const MAX_PARENTS = 10_000;
/** How many children a run may create. */
export const MAX_CHILDREN = 10_000;
/** Jobs, and parent references, in a list that names parents: it is added in one transaction. */
export const MAX_GRAPH_JOBS = 10_000;
export const MAX_GRAPH_EDGES = 50_000;
export const MAX_WEIGHT = 1_000_000;
/** `meta` of a job or group as JSON text in bytes. */
export const MAX_META_BYTES = 64 * 1024;
/** The latest instant of JavaScript's Date, in milliseconds since the epoch. */
export const MAX_INSTANT = 8_640_000_000_000_000;
/** How many files a job may carry, and the size of one in bytes. */
export const MAX_FILES = 1_000;
export const MAX_FILE_BYTES = 1024 ** 4;
