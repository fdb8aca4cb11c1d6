/** Defaults that the options show and the server uses, each written once. */
export const DEFAULT_CREW_PATH = '/crew';
export const DEFAULT_ABANDONED_SECONDS = 60;
