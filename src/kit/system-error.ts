import { accessSync, constants, existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { asPeerworkError, type ErrorCode, type MakeError, makeError, PeerworkError } from '../errors.js';

/** Returns the `code` of a system error; undefined for everything else. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** Whether a file or folder, or one above it, does not exist. */
export function isMissing(error: unknown): boolean {
  const code = systemCode(error);
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/** System errors of files and folders, each with a code of its own because the remedies differ. */
const FILE_CODES: Readonly<Record<string, ErrorCode>> = {
  EACCES: 'file-denied',
  EPERM: 'file-denied',
  EROFS: 'file-system-read-only',
  ENOENT: 'file-missing',
  ENOTDIR: 'path-through-file',
  EEXIST: 'path-through-file',
  EISDIR: 'path-is-folder',
  ELOOP: 'path-loop',
  ENAMETOOLONG: 'path-too-long',
  EMFILE: 'files-exhausted',
  ENFILE: 'files-exhausted',
  ENOSPC: 'disk-full',
  EDQUOT: 'disk-full',
  EIO: 'disk-failing',
  ENXIO: 'disk-failing',
  ESTALE: 'disk-failing',
  EBUSY: 'file-busy',
  ETXTBSY: 'file-busy',
  ENOMEM: 'memory-exhausted',
};

/** System errors of an address to listen on or to connect to. */
const ADDRESS_CODES: Readonly<Record<string, ErrorCode>> = {
  EADDRINUSE: 'address-unusable',
  EACCES: 'port-denied',
  EPERM: 'port-denied',
  EADDRNOTAVAIL: 'address-absent',
  EAFNOSUPPORT: 'address-absent',
  ENOTFOUND: 'host-unknown',
  EAI_AGAIN: 'host-unknown',
  EMFILE: 'files-exhausted',
  ENFILE: 'files-exhausted',
};

/** Converts an error of a file or folder, with its path, to the code of its cause; `fallback` for system codes not listed here. */
export function fileError(error: unknown, fallback: ErrorCode | MakeError, path = ''): PeerworkError {
  return systemError(mkdirObstacle(error) ?? error, FILE_CODES, fallback, path);
}

/**
 * A recursive mkdir that fails is reported as ENOENT whatever the obstacle; access to the nearest existing parent gives the real
 * reason.
 */
function mkdirObstacle(error: unknown): unknown {
  if (systemCode(error) !== 'ENOENT') return undefined;
  const { syscall, path } = error as NodeJS.ErrnoException;
  if (syscall !== 'mkdir' || path === undefined) return undefined;
  let above = dirname(path);
  while (above !== dirname(above) && !existsSync(above)) above = dirname(above);
  try {
    accessSync(above, constants.W_OK | constants.X_OK);
    return undefined;
  } catch (why) {
    return why;
  }
}

/** Converts the error of an address, such as `127.0.0.1:80`, that could not be listened on. */
export function listenError(error: unknown, fallback: ErrorCode | MakeError, address: string): PeerworkError {
  return systemError(error, ADDRESS_CODES, fallback, address);
}

function systemError(
  error: unknown,
  codes: Readonly<Record<string, ErrorCode>>,
  fallback: ErrorCode | MakeError,
  where: string,
): PeerworkError {
  if (error instanceof PeerworkError) return error;
  const system = systemCode(error) ?? '';
  const message = error instanceof Error ? error.message : String(error);
  // The system's message usually contains the path already.
  const detail = where === '' || message.includes(where) ? message : `${where}: ${message}`;
  return makeError(codes[system] ?? fallback, detail, { cause: error });
}

/**
 * Like `asPeerworkError`, but a refusal by the operating system, wherever it happened, gets the code of its cause instead of
 * `internal`.
 */
export function asKnownError(thrown: unknown): PeerworkError {
  const error = asPeerworkError(thrown);
  if (error.code !== 'internal') return error;
  const cause = error.cause ?? thrown;
  return systemCode(cause)?.startsWith('E') === true ? fileError(cause, 'internal') : error;
}

/** Codes that Node and OpenSSL use for invalid certificates and for peers that do not speak TLS. */
const TLS_CODE = /^(EPROTO|ERR_(TLS|SSL|OSSL)_\w+|[A-Z_]*CERT[A-Z_]*|UNABLE_TO_\w+|INVALID_(CA|PURPOSE))$/;

/** Whether TLS could not be established: the certificate is not trusted, or the peer does not speak TLS. */
export function isTlsError(error: unknown): boolean {
  return TLS_CODE.test(systemCode(error) ?? '');
}

/** Converts a full disk or an exhausted user quota to `disk-full`; returns anything else unchanged. */
export function diskError(error: unknown): unknown {
  const code = systemCode(error);
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error;
  return new PeerworkError('disk-full', (error as Error).message, { cause: error });
}
