import { containerErrors } from './errors/containers.js';
import { crawlErrors } from './errors/crawl.js';
import { crewErrors } from './errors/crew.js';
import { doryErrors } from './errors/dory.js';
import type { ErrorEntry } from './errors/entry.js';
import { httpErrors } from './errors/http.js';
import { ledgerErrors } from './errors/ledger.js';
import { openfnErrors } from './errors/openfn.js';
import { otherErrors } from './errors/other.js';
import { peerErrors } from './errors/peers.js';
import { queueXecErrors } from './errors/queue-xec.js';
import { runErrors } from './errors/runs.js';
import { serviceErrors } from './errors/service.js';
import { setupErrors } from './errors/setup.js';
import { taskErrors } from './errors/tasks.js';
import { tunnelErrors } from './errors/tunnel.js';
import { worqrErrors } from './errors/worqr.js';
import { messageOf } from './kit/error-parts.js';

/**
 * The one table of everything that can be refused or go wrong: code → what it says, what to do, HTTP status. Its parts stand in `errors/`.
 * `docs/errors.md` lists the same codes; a test holds the two together. Codes are kebab-case and never re-used for another meaning.
 */
export const errorTable = {
  ...setupErrors,
  ...peerErrors,
  ...taskErrors,
  ...runErrors,
  ...containerErrors,
  ...crawlErrors,
  ...ledgerErrors,
  ...tunnelErrors,
  ...httpErrors,
  ...serviceErrors,
  ...doryErrors,
  ...queueXecErrors,
  ...openfnErrors,
  ...worqrErrors,
  ...crewErrors,
  ...otherErrors,
} as const satisfies Record<string, ErrorEntry>;

export type { ErrorEntry };
export type ErrorCode = keyof typeof errorTable;

/** An error that a user may see: it has a code, says what happened and what to do about it. */
export class PeerworkError extends Error {
  override readonly name = 'PeerworkError';
  readonly code: ErrorCode;
  /** The particulars alone, as given; empty if there are none. */
  readonly detail: string;

  constructor(code: ErrorCode, detail = '', options?: { cause?: unknown }) {
    super(describeError(code, detail), options);
    this.code = code;
    this.detail = detail;
  }

  get todo(): string {
    return errorTable[this.code].todo;
  }

  get status(): number {
    return errorTable[this.code].status;
  }
}

/** The sentence of a code with its particulars filled in. */
export function describeError(code: ErrorCode, detail = ''): string {
  const { message } = errorTable[code] as ErrorEntry;
  if (message.includes('{detail}'))
    return detail === '' ? message.replace(/:? ?\{detail\}/, '') : message.replace('{detail}', () => detail);
  return detail === '' ? message : `${message} (${detail})`;
}

export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(errorTable, code);
}

/** Whatever was thrown, as a PeerworkError; an unknown error becomes `fallback` with its message, and those of its causes, as detail. */
export function asPeerworkError(thrown: unknown, fallback: ErrorCode = 'internal'): PeerworkError {
  if (thrown instanceof PeerworkError) return thrown;
  return new PeerworkError(fallback, messageOf(thrown), { cause: thrown });
}
