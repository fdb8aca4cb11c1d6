import type { PeerworkError } from '../errors.js';
import { errorPart } from '../kit/error-parts.js';
import type { JobError } from './job.js';
import { MAX_LOG_LINE_CHARS } from './limits.js';

const MAX_CODE_CHARS = 60;

/** Any error in a form that may be stored and shown: parts that are too long or too deep are cut, anything that is no error is left out. */
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

/** The error of a run that one of our own errors has ended, with its causes; without our stack, which does not help a user. */
export function jobErrorOf({ code, message, cause }: PeerworkError): JobError {
  const because = errorPart(cause);
  if (because === undefined) return { code, message };
  const { stack: _, ...shown } = because;
  return { code, message, cause: shown };
}
