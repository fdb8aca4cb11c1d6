/** Defaults shared by the option table, the docs and the source. */
export const DEFAULT_MAX_RUNS = 2;
export const DEFAULT_CONTAINERS = 1;
export const DEFAULT_QUEUE = 'run-execution';
export const DEFAULT_REDIS_HOST = 'localhost';
export const DEFAULT_REDIS_PORT = 6379;
export const DEFAULT_HEARTBEAT_PATH = '/api/workers/heartbeat';
/** Protocol timings. */
export const DEFAULT_TIMING = {
  beatMs: 10_000,
  lockMs: 300_000,
  extendMs: 120_000,
  stalledMs: 30_000,
  pollMs: 5_000,
  staleMs: 30_000,
  waitGraceMs: 60_000,
  untimedWaitMs: 900_000,
} as const;
