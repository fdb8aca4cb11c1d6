import { containerErrors, crawlErrors } from './errors/containers.js';
import type { ErrorEntry } from './errors/entry.js';
import { fileErrors } from './errors/files.js';
import { httpErrors } from './errors/http.js';
import { ledgerErrors } from './errors/ledger.js';
import { otherErrors, packageErrors } from './errors/other.js';
import { peerErrors } from './errors/peers.js';
import { runErrors } from './errors/runs.js';
import { serviceErrors } from './errors/service.js';
import { setupErrors } from './errors/setup.js';
import { systemErrors } from './errors/system.js';
import { taskErrors } from './errors/tasks.js';
import { tunnelErrors } from './errors/tunnel.js';
import { messageOf } from './kit/error-parts.js';

/**
 * What the core may refuse, and what may go wrong in it: code → message, hint and HTTP status. Its parts are in `errors/`. A wire declares its own
 * with `declareErrors`. Codes are kebab-case and never re-used for another meaning; `docs/errors.md` lists all of them.
 */
export const errorTable = {
  ...setupErrors,
  ...packageErrors,
  ...peerErrors,
  ...taskErrors,
  ...runErrors,
  ...containerErrors,
  ...crawlErrors,
  ...ledgerErrors,
  ...fileErrors,
  ...tunnelErrors,
  ...httpErrors,
  ...serviceErrors,
  ...systemErrors,
  ...otherErrors,
} as const satisfies Record<string, ErrorEntry>;

export type { ErrorEntry };
/** The codes of the core. */
export type ErrorCode = keyof typeof errorTable;
/** What an error may have for a code: one of the core, or one that a wire declares. */
export type AnyErrorCode = ErrorCode | (string & {});

/** Every code that this process knows: the core's, and those of the wires that are loaded. */
const declared = new Map<string, ErrorEntry>(Object.entries(errorTable));

/** Refusals and wrong usage. */
export const EXIT_REFUSED = 2;

/** An error that a user may see: it has a code, says what happened and what to do about it. */
export class PeerworkError extends Error {
  override readonly name = 'PeerworkError';
  readonly code: AnyErrorCode;
  /** The particulars alone, as given; empty if there are none. */
  readonly detail: string;

  constructor(code: ErrorCode, detail = '', options?: { cause?: unknown }) {
    super(describeError(code, detail), options);
    this.code = code;
    this.detail = detail;
  }

  get hint(): string {
    return entryOf(this.code).hint;
  }

  get status(): number {
    return entryOf(this.code).status;
  }

  /** Of a command that ends with this error. */
  get exitCode(): number {
    return entryOf(this.code).exitCode ?? EXIT_REFUSED;
  }
}

/** Makes an error whose code is settled already. */
export type MakeError = (detail: string, options?: { cause?: unknown }) => PeerworkError;

/** The errors of one wire: a PeerworkError that takes the wire's codes alone. `instanceof` tells them from all others. */
export interface ErrorClass<C extends string> {
  new (code: C, detail?: string, options?: { cause?: unknown }): PeerworkError & { readonly code: C };
  readonly table: Readonly<Record<C, ErrorEntry>>;
  /** For those that take a code of the core as what to say in default of a better one. */
  of(code: C): MakeError;
}

/** Makes the codes of a wire known. Throws if one is declared already: it would mean two things. */
export function declareErrors<const T extends Readonly<Record<string, ErrorEntry>>>(table: T): ErrorClass<keyof T & string> {
  for (const [code, entry] of Object.entries(table)) {
    if (declared.has(code)) throw new TypeError(`the error code ${code} is declared twice`);
    declared.set(code, entry);
  }
  return class WireError extends PeerworkError {
    static readonly table = table;
    static of(code: keyof T & string): MakeError {
      return (detail, options) => new WireError(code, detail, options);
    }
    declare readonly code: keyof T & string;

    constructor(code: keyof T & string, detail?: string, options?: { cause?: unknown }) {
      super(code as string as ErrorCode, detail, options);
    }
  };
}

/** All that are declared by now: the core's, and those of the wires that are loaded. */
export const declaredErrors = (): ReadonlyMap<string, ErrorEntry> => declared;

function entryOf(code: AnyErrorCode): ErrorEntry {
  return declared.get(code) ?? errorTable.internal;
}

/** The sentence of a code with its particulars filled in. */
export function describeError(code: AnyErrorCode, detail = ''): string {
  const { message } = entryOf(code);
  if (message.includes('{detail}'))
    return detail === '' ? message.replace(/:? ?\{detail\}/, '') : message.replace('{detail}', () => detail);
  return detail === '' ? message : `${message} (${detail})`;
}

/** The error of a code that came as text, such as a peer's; undefined if it is not declared here. */
export function knownError(code: unknown, detail = ''): PeerworkError | undefined {
  return typeof code === 'string' && declared.has(code) ? new PeerworkError(code as ErrorCode, detail) : undefined;
}

/** An error of a code of the core, or of a wire's by its `of`. */
export function makeError(code: ErrorCode | MakeError, detail: string, options?: { cause?: unknown }): PeerworkError {
  return typeof code === 'string' ? new PeerworkError(code, detail, options) : code(detail, options);
}

/** Whatever was thrown, as a PeerworkError; an unknown error becomes `fallback` with its message, and those of its causes, as detail. */
export function asPeerworkError(thrown: unknown, fallback: ErrorCode | MakeError = 'internal'): PeerworkError {
  if (thrown instanceof PeerworkError) return thrown;
  return makeError(fallback, messageOf(thrown), { cause: thrown });
}
