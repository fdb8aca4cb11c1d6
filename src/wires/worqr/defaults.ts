/** Defaults that the options show and the source uses, each written once. */
export const DEFAULT_PREFIX = 'worqr';
export const DEFAULT_ATTEMPTS = 3;
