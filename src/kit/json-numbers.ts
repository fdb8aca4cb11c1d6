/**
 * Finds numbers in JSON text that a double cannot hold: integers beyond 2^53 that would be rounded, more digits than a double
 * keeps, values that would become Infinity or 0. A number is exact if its double, written with as many digits, is the same number:
 * 9007199254740993 is not (…992), and neither is 1e400; 0.1 is, and so is 0.10000000000000001, which is how some programs write the
 * double 0.1.
 */

export interface InexactNumber {
  /** The number as written, truncated if it is long. */
  readonly literal: string;
  /** The value it would become. */
  readonly value: number;
  /** Position such as `data.items[3]`; empty for the top level. */
  readonly path: string;
  /** Counted from 1, in UTF-16 units. */
  readonly line: number;
  readonly column: number;
}

const DIGITS = 16;
/** Only exponents of three digits can make a short literal overflow or underflow. */
const LONG_EXPONENT = /\d[eE][-+]?\d{3}/;
const LITERAL = /-?(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?/y;
/** The limit of `toPrecision`. */
const MAX_DIGITS = 100;
const MAX_SHOWN_CHARS = 40;
const MAX_PATH_CHARS = 200;

/** Returns the first inexact number. The text must be valid JSON. */
export function findInexactNumber(text: string): InexactNumber | undefined {
  return hasLongRun(text) || LONG_EXPONENT.test(text) ? search(text) : undefined;
}

/**
 * Whether 16 or more digits may follow each other. A run of 16 covers one of every 16 positions, so only these are checked, at a
 * small fraction of the cost of parsing.
 */
function hasLongRun(text: string): boolean {
  for (let at = DIGITS - 1; at < text.length; at += DIGITS) {
    // A run of 16 extends at least 8 positions to one side.
    if (!isDigit(text, at) || (!isDigit(text, at - DIGITS / 2) && !isDigit(text, at + DIGITS / 2))) continue;
    let from = at;
    let to = at;
    while (isDigit(text, from - 1)) from -= 1;
    while (isDigit(text, to + 1)) to += 1;
    if (to - from + 1 >= DIGITS) return true;
  }
  return false;
}

/** Or a decimal point. */
function isDigit(text: string, at: number): boolean {
  const unit = text.charCodeAt(at);
  return (unit >= 48 && unit <= 57) || unit === 46;
}

/** Walks the text, tracking the key or index in each open array and object. */
function search(text: string): InexactNumber | undefined {
  const open: (string | number)[] = [];
  for (let at = 0; at < text.length; at += 1) {
    const unit = text[at];
    const last = open.length - 1;
    const place = open[last];
    if (unit === '"') {
      const end = endOfText(text, at);
      // Followed by a colon it is a key; otherwise the path stays the same.
      if (typeof place === 'string' && /^\s*:/.test(text.slice(end + 1, end + 20))) open[last] = text.slice(at, end + 1);
      at = end;
    } else if (unit === '{') open.push('');
    else if (unit === '[') open.push(0);
    else if (unit === '}' || unit === ']') open.pop();
    else if (unit === ',' && typeof place === 'number') open[last] = place + 1;
    else if (unit === '-' || (unit !== undefined && unit >= '0' && unit <= '9')) {
      LITERAL.lastIndex = at;
      const literal = LITERAL.exec(text)?.[0] ?? unit;
      if (!isExact(literal)) return describeNumber(text, at, literal, open);
      at += literal.length - 1;
    }
  }
  return undefined;
}

function endOfText(text: string, from: number): number {
  let end = from;
  do end = text.indexOf('"', end + 1);
  while (end !== -1 && isEscaped(text, end));
  return end === -1 ? text.length : end;
}

function isEscaped(text: string, at: number): boolean {
  let before = at;
  while (text[before - 1] === '\\') before -= 1;
  return (at - before) % 2 === 1;
}

function isExact(literal: string): boolean {
  const written = digitsOf(literal);
  if (written.digits === '') return true;
  const value = Number(literal);
  // Trailing zeros of an integer are significant digits.
  const precision = /^-?\d+$/.test(literal) ? literal.replace('-', '').length : written.digits.length;
  if (!Number.isFinite(value) || value === 0 || precision > MAX_DIGITS) return false;
  const read = digitsOf(value.toPrecision(precision));
  return read.digits === written.digits && read.exponent === written.exponent;
}

/** `digits × 10^exponent`, without leading or trailing zeros in the digits. */
function digitsOf(literal: string): { readonly digits: string; readonly exponent: number } {
  LITERAL.lastIndex = 0;
  const [, integer = '', fraction = '', exponent = '0'] = LITERAL.exec(literal) ?? [];
  const all = integer + fraction;
  let from = 0;
  let to = all.length;
  while (all[from] === '0') from += 1;
  while (to > from && all[to - 1] === '0') to -= 1;
  return { digits: all.slice(from, to), exponent: Number(exponent) - fraction.length + all.length - to };
}

function describeNumber(text: string, at: number, literal: string, open: readonly (string | number)[]): InexactNumber {
  const before = text.slice(0, at);
  return {
    literal: literal.length > MAX_SHOWN_CHARS ? `${literal.slice(0, MAX_SHOWN_CHARS)}…` : literal,
    value: Number(literal),
    path: pathOf(open),
    line: before.split('\n').length,
    column: at - before.lastIndexOf('\n'),
  };
}

function pathOf(open: readonly (string | number)[]): string {
  let path = '';
  for (const place of open) {
    if (typeof place === 'number') path += `[${place}]`;
    else if (/^"[\p{L}_$][\p{L}\p{N}_$]*"$/u.test(place)) path += `${path === '' ? '' : '.'}${place.slice(1, -1)}`;
    else path += `[${place}]`;
  }
  return path.length > MAX_PATH_CHARS ? `${path.slice(0, MAX_PATH_CHARS)}…` : path;
}
