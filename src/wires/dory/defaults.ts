/** Defaults shared by the option table and the source. */
export const DEFAULT_MAX_RUNS = 2;
export const DEFAULT_CONTAINERS = 1;
export const DEFAULT_QUEUE = 'run-execution';
