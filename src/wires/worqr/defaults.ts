/** Defaults shared by the option table, the docs, the source and the producer. */
export const DEFAULT_NAME = 'worqr';
export const DEFAULT_PREFIX = 'worqr';
export const DEFAULT_DATA = 'json';
export const DEFAULT_ATTEMPTS = 3;
export const DEFAULT_BACKOFF_MS = 1_000;
/** worqr's own default. */
export const DEFAULT_WORKER_TIMEOUT_MS = 3_000;
export const DEFAULT_SWEEP_MS = 10_000;
/** Nothing is published when a dead worker's task is put back, so an idle worker polls. */
export const DEFAULT_POLL_MS = 10_000;
