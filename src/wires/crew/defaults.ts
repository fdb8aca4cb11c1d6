/** Defaults shared by the option table and the server. */
export const DEFAULT_CREW_PATH = '/crew';
export const DEFAULT_ABANDONED_SECONDS = 60;
