/**
 * Checks nesting depth and number of values of a JSON text without parsing it. The results are meaningless for a text that is not
 * JSON, which the parser refuses anyway.
 *
 * Measured against JSON.parse of the same text: 1 % if there are fewer brackets than levels allowed (almost all messages), 20 to 30
 * % for lists of records. Walking bytes is three times as fast as walking the units of a string, and indexOf skips long strings.
 */

const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_ARRAY = 0x5b;
const BACKSLASH = 0x5c;
/** `[` and `{`, `]` and `}` differ in this bit. */
const BRACE = 0x20;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

const CHUNK_CHARS = 16 * 1024;
/** From this length on, indexOf is faster than a loop over the bytes. */
const LONG_STRING = 32;

/** Whether the JSON is nested more than `maxDepth` levels deep. */
export function isDeeper(text: string, maxDepth: number): boolean {
  return text.length > maxDepth && hasMoreOf(text, ['[', '{'], maxDepth) && exceeds(text, maxDepth, Number.POSITIVE_INFINITY);
}

/** Whether its arrays and objects hold more than `maxItems` values in total. */
export function isMore(text: string, maxItems: number): boolean {
  return text.length > maxItems && hasMoreOf(text, ['[', '{', ','], maxItems) && exceeds(text, Number.POSITIVE_INFINITY, maxItems);
}

/** Quick pre-check that also counts units inside strings: false means the limit is certainly not reached. */
function hasMoreOf(text: string, units: readonly string[], max: number): boolean {
  let count = 0;
  for (const unit of units) {
    for (let at = text.indexOf(unit); at !== -1; at = text.indexOf(unit, at + 1)) {
      count += 1;
      if (count > max) return true;
    }
  }
  return false;
}

const encoder = new TextEncoder();
/** One UTF-16 unit is at most three bytes of UTF-8. */
const scratch = new Uint8Array(CHUNK_CHARS * 3);

function exceeds(text: string, maxDepth: number, maxItems: number): boolean {
  let depth = 0;
  let items = 0;
  let quoted = false;
  let escaped = false;
  for (let from = 0; from < text.length; from += CHUNK_CHARS) {
    // A surrogate pair split between chunks becomes two U+FFFD, neither bracket nor quote.
    const chunk = text.slice(from, from + CHUNK_CHARS);
    const end = encoder.encodeInto(chunk, scratch).written;
    // If so, positions in text and bytes are the same.
    const ascii = end === chunk.length;
    let backslash = -1;
    let at = 0;
    if (escaped) at = 1;
    escaped = false;
    while (at < end) {
      if (quoted) {
        const near = Math.min(at + LONG_STRING, end);
        let byte = scratch[at];
        while (at < near && byte !== QUOTE && byte !== BACKSLASH) {
          at += 1;
          byte = scratch[at];
        }
        if (at === near) {
          if (!ascii || at >= end) continue;
          if (backslash < at) backslash = orEnd(chunk.indexOf('\\', at), end);
          at = Math.min(orEnd(chunk.indexOf('"', at), end), backslash);
        } else if (byte === QUOTE) {
          quoted = false;
          at += 1;
        } else {
          at += 2;
          escaped = at > end;
        }
        continue;
      }
      const byte = scratch[at] ?? 0;
      at += 1;
      if (byte === QUOTE) quoted = true;
      else if (byte >= OPEN_ARRAY) {
        const either = byte | BRACE;
        if (either === OPEN_OBJECT) {
          depth += 1;
          items += 1;
          if (depth > maxDepth || items > maxItems) return true;
        } else if (either === CLOSE_OBJECT) depth -= 1;
      } else if (byte === COMMA) {
        items += 1;
        if (items > maxItems) return true;
      }
    }
  }
  return false;
}

function orEnd(at: number, end: number): number {
  return at === -1 ? end : at;
}
