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
 * Everything the core may refuse and everything that may go wrong in it: code → message, hint and HTTP status. The parts are in
 * `errors/`. A wire declares its own codes with `declareErrors`. Codes are kebab-case and never reused for another meaning;
 * `docs/errors.md` lists them all.
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
/** The error codes of the core. */
export type ErrorCode = keyof typeof errorTable;
/** The code of any error: one of the core, or one that a wire declares. */
export type AnyErrorCode = ErrorCode | (string & {});

/** Every code this process knows: the core's and those of the loaded wires. */
const declared = new Map<string, ErrorEntry>(Object.entries(errorTable));

/** Exit code for refusals and wrong usage. */
export const EXIT_REFUSED = 2;

/** An error that a user may see: its code, message and hint say what happened and how to resolve it. */
export class PeerworkError extends Error {
  override readonly name = 'PeerworkError';
  readonly code: AnyErrorCode;
  /** The specifics as passed to the constructor; empty if there are none. */
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

  /** The exit code of a command that ends with this error. */
  get exitCode(): number {
    return entryOf(this.code).exitCode ?? EXIT_REFUSED;
  }
}

/** Builds an error whose code is already fixed. */
export type MakeError = (detail: string, options?: { cause?: unknown }) => PeerworkError;

/** The error class of one wire: a PeerworkError restricted to the wire's codes, which `instanceof` distinguishes from all others. */
export interface ErrorClass<C extends string> {
  new (code: C, detail?: string, options?: { cause?: unknown }): PeerworkError & { readonly code: C };
  readonly table: Readonly<Record<C, ErrorEntry>>;
  /** Returns a `MakeError` for this code, for functions that accept a core code as their fallback. */
  of(code: C): MakeError;
}

/** Registers the codes of a wire. Throws a `TypeError` if one is already declared, because a code must have a single meaning. */
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

/** Returns all codes declared so far: the core's and those of the loaded wires. */
export const declaredErrors = (): ReadonlyMap<string, ErrorEntry> => declared;

function entryOf(code: AnyErrorCode): ErrorEntry {
  return declared.get(code) ?? errorTable.internal;
}

/** Returns the message of a code with the specifics filled in. */
export function describeError(code: AnyErrorCode, detail = ''): string {
  const { message } = entryOf(code);
  if (message.includes('{detail}'))
    return detail === '' ? message.replace(/:? ?\{detail\}/, '') : message.replace('{detail}', () => detail);
  return detail === '' ? message : `${message} (${detail})`;
}

/** Returns the error for a code that arrived as text, for example from a peer; undefined if the code is not declared here. */
export function knownError(code: unknown, detail = ''): PeerworkError | undefined {
  return typeof code === 'string' && declared.has(code) ? new PeerworkError(code as ErrorCode, detail) : undefined;
}

/** Creates an error from a core code or, for a wire, from the `MakeError` returned by its `of`. */
export function makeError(code: ErrorCode | MakeError, detail: string, options?: { cause?: unknown }): PeerworkError {
  return typeof code === 'string' ? new PeerworkError(code, detail, options) : code(detail, options);
}

/** Converts anything thrown to a PeerworkError. An unknown error becomes `fallback`, with its message and those of its causes as detail. */
export function asPeerworkError(thrown: unknown, fallback: ErrorCode | MakeError = 'internal'): PeerworkError {
  if (thrown instanceof PeerworkError) return thrown;
  return makeError(fallback, messageOf(thrown), { cause: thrown });
}
