/** Defaults shared by the docs and the source. */
export const DEFAULT_NAME = 'queue-xec';
