/** Defaults shared by the option table and the source. */
export const DEFAULT_PREFIX = 'worqr';
export const DEFAULT_ATTEMPTS = 3;
