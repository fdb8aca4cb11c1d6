/** A serialised error. One error with all its causes and parts keeps at most 24 Ki characters, six levels and two dozen entries. */
export interface ErrorPart {
  readonly name?: string;
  readonly message: string;
  /** The error's own code, such as `ECONNREFUSED`. */
  readonly code?: string;
  /** Stack as the engine formats it; at most 4 Ki characters. */
  readonly stack?: string;
  /** From `error.cause`. */
  readonly cause?: ErrorPart;
  /** The errors it consists of, as in `AggregateError.errors`. */
  readonly parts?: readonly ErrorPart[];
}

/** Nesting of causes and parts. */
const MAX_DEPTH = 6;
/** Errors in one tree, whether causes or parts. */
const MAX_PARTS = 24;
/** All texts of one tree together; the limits per field follow. */
const MAX_CHARS = 24 * 1024;
const MAX_MESSAGE_CHARS = 8 * 1024;
const MAX_STACK_CHARS = 4 * 1024;
const MAX_NAME_CHARS = 100;
/** Parts listed in one message. */
const MAX_NAMED = 5;

/** Remaining budget while an error is copied. */
interface Budget {
  chars: number;
  parts: number;
}

/**
 * Converts an error thrown here or received from outside; whatever is too deep, too many or too long is dropped or cut. Undefined
 * if the value is not an object.
 */
export function errorPart(value: unknown): ErrorPart | undefined {
  return partOf(value, { chars: MAX_CHARS, parts: MAX_PARTS }, 0);
}

/** Formats an error and its causes on one line: `TypeError: fetch failed: connect ECONNREFUSED 127.0.0.1:9`. */
export function wordsOf({ name = '', message, code, cause, parts = [] }: ErrorPart): string {
  const named = UNNAMED.has(name) ? message : message === '' ? name : `${name}: ${message}`;
  // Our own errors say everything in the message.
  const coded = code === undefined || message.includes(code) || name === 'PeerworkError' ? named : `${named} [${code}]`;
  const some = parts.slice(0, MAX_NAMED).map(wordsOf);
  if (parts.length > some.length) some.push(`and ${parts.length - some.length} more`);
  const all = some.length === 0 ? coded : `${coded} (${some.join('; ')})`;
  const why = cause === undefined ? '' : wordsOf(cause);
  if (why === '' || all.includes(why)) return all;
  return all === '' ? why : `${all}: ${why}`;
}

const UNNAMED: ReadonlySet<string> = new Set(['', 'Error', 'PeerworkError']);

/** Returns the message of anything thrown, including those of its causes and parts. */
export function messageOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const part = errorPart(thrown);
  return part?.cause === undefined && part?.parts === undefined ? thrown.message : wordsOf(part);
}

function partOf(value: unknown, budget: Budget, depth: number): ErrorPart | undefined {
  if (typeof value !== 'object' || value === null || depth > MAX_DEPTH || budget.parts <= 0) return undefined;
  budget.parts -= 1;
  const { name, message, code, stack, cause, parts, errors } = value as Readonly<Record<string, unknown>>;
  const own = {
    ...(typeof name === 'string' && { name: takeText(name, MAX_NAME_CHARS, budget) }),
    message: typeof message === 'string' ? takeText(message, MAX_MESSAGE_CHARS, budget) : '',
    ...(typeof code === 'string' && { code: takeText(code, MAX_NAME_CHARS, budget) }),
    ...(typeof stack === 'string' && stack !== '' && { stack: takeText(stack, MAX_STACK_CHARS, budget) }),
  };
  const causePart = partOf(cause, budget, depth + 1);
  const list = Array.isArray(parts) ? parts : Array.isArray(errors) ? errors : [];
  const some = list.slice(0, MAX_PARTS).flatMap((part) => partOf(part, budget, depth + 1) ?? []);
  return { ...own, ...(causePart !== undefined && { cause: causePart }), ...(some.length > 0 && { parts: some }) };
}

function takeText(text: string, maxChars: number, budget: Budget): string {
  const kept = text.slice(0, Math.min(maxChars, budget.chars));
  budget.chars -= kept.length;
  return kept;
}
