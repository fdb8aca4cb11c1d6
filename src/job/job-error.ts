import type { PeerworkError } from '../errors.js';
import { errorPart } from '../kit/error-parts.js';
import type { JobError } from './job.js';
import { MAX_LOG_LINE_CHARS } from './limits.js';

const MAX_CODE_CHARS = 60;

/** An error as it may be stored and shown, whoever made it: what is too long, too deep or no error is cut or left out. */
export function boundedError({ code, message, exitCode, cause }: JobError): JobError {
  const because = errorPart(cause);
  return {
    // First: the ledger compares the beginning of the text.
    code: code.slice(0, MAX_CODE_CHARS),
    message: message.slice(0, MAX_LOG_LINE_CHARS),
    ...(exitCode !== undefined && { exitCode }),
    ...(because !== undefined && { cause: because }),
  };
}

/** The error of a run that one of ours has ended, with what stands behind it; no stack of ours, which tells a user nothing. */
export function jobErrorOf({ code, message, cause }: PeerworkError): JobError {
  const because = errorPart(cause);
  if (because === undefined) return { code, message };
  const { stack: _, ...shown } = because;
  return { code, message, cause: shown };
}
