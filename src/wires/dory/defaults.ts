/** Defaults that the options show and the source uses, each written once. */
export const DEFAULT_MAX_RUNS = 2;
export const DEFAULT_CONTAINERS = 1;
export const DEFAULT_QUEUE = 'run-execution';
