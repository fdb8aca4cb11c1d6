/** Sizes of AES-256-CBC, in a file that costs nothing to load. */
export const TRANSFER_KEY_BYTES = 32;
export const IV_BYTES = 16;
