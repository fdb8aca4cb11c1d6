/** Defaults shared by the option table, the docs, the source and the server. */
export const DEFAULT_NAME = 'crew';
/** crew's own polling interval. */
export const DEFAULT_INTERVAL_MS = 15_000;
export const DEFAULT_WATCH_MS = 15_000;
export const DEFAULT_ENDPOINT_HOST = '127.0.0.1';
export const DEFAULT_CREW_PATH = '/crew';
export const DEFAULT_ABANDONED_SECONDS = 60;
export const DEFAULT_EXPIRED_DAYS = 7;
