import { PeerworkError } from '../errors.js';

/** The `code` of a system error; undefined for everything else. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

export function isMissing(error: unknown): boolean {
  const code = systemCode(error);
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/** A full disk or an exhausted quota of the user as `disk-full`; anything else unchanged. */
export function diskError(error: unknown): unknown {
  const code = systemCode(error);
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error;
  return new PeerworkError('disk-full', (error as Error).message, { cause: error });
}
