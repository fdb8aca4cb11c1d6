/** Defaults shared by the option table, the docs, the source and the runner. */
export const DEFAULT_BACKOFF_MS: readonly [first: number, last: number] = [1_000, 10_000];
export const DEFAULT_BATCH_LINES = 50;
export const DEFAULT_BATCH_WAIT_MS = 10;
export const DEFAULT_MESSAGE_MS = 30_000;
export const DEFAULT_CLAIM_MS = 60_000;
export const DEFAULT_PAYLOAD_LIMIT_MB = 10;
/** Or a run's limit for a state, if that is less. */
export const DEFAULT_LOG_LIMIT_MB = 1;
export const DEFAULT_SEND_FINAL_STATE = true;
export const DEFAULT_INSTALL_ADAPTORS = true;
export const DEFAULT_RUN_MS = 300_000;
export const DEFAULT_ADAPTORS: readonly string[] = ['@openfn/*'];
export const DEFAULT_STATE_PROPS_TO_REMOVE: readonly string[] = ['configuration', 'response'];
