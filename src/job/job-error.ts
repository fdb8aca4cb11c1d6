import type { PeerworkError } from '../errors.js';
import { errorPart } from '../kit/error-parts.js';
import type { JobError } from './job.js';
import { MAX_LOG_LINE_CHARS } from './limits.js';

const MAX_CODE_CHARS = 60;

/**
 * Bounds an error so that it can be stored and shown: parts that are too long or too deep are truncated, and anything in `cause` that is no
 * error is left out.
 */
export function boundedError({ code, message, exitCode, cause }: JobError): JobError {
  const boundedCause = errorPart(cause);
  return {
    // First, because the ledger compares the beginning of the stored text.
    code: code.slice(0, MAX_CODE_CHARS),
    message: message.slice(0, MAX_LOG_LINE_CHARS),
    ...(exitCode !== undefined && { exitCode }),
    ...(boundedCause !== undefined && { cause: boundedCause }),
  };
}

/** Converts one of our own errors to the error of a run, with its causes but without our stack, which does not help a user. */
export function jobErrorOf({ code, message, cause }: PeerworkError): JobError {
  const boundedCause = errorPart(cause);
  if (boundedCause === undefined) return { code, message };
  const { stack: _, ...shown } = boundedCause;
  return { code, message, cause: shown };
}
