/**
 * The one door for JSON that somebody else wrote: a child, a peer, HTTP, a foreign server, a tracker, a file.
 *
 * `JSON.parse` takes a million levels, but most of what is done with a value afterwards is recursive: JSON.stringify fails at 5,000 levels, a
 * validator or `structuredClone` earlier. So size and depth are checked on the text, before there is a value.
 */

/** Deeper than anything that people write, and far from where recursion over a value ends a process. */
export const MAX_JSON_DEPTH = 512;

export interface JsonLimits {
  /** Bytes of UTF-8. */
  readonly maxBytes: number;
  /** Arrays and objects inside each other; default `MAX_JSON_DEPTH`. */
  readonly maxDepth?: number;
}

/** Why a text is not let in; the message is fit for a user. */
export class JsonRefused extends Error {
  override readonly name = 'JsonRefused';
  readonly reason: 'too-large' | 'too-deep' | 'malformed';

  constructor(reason: JsonRefused['reason'], message: string) {
    super(message);
    this.reason = reason;
  }
}

/** Parses JSON within limits. Throws `JsonRefused`. Bytes are read as UTF-8. */
export function parseJson(source: string | Uint8Array, { maxBytes, maxDepth = MAX_JSON_DEPTH }: JsonLimits): unknown {
  if (isLarger(source, maxBytes)) throw new JsonRefused('too-large', `more than ${maxBytes} bytes of JSON`);
  const text = typeof source === 'string' ? source : new TextDecoder().decode(source);
  if (isDeeper(text, maxDepth)) throw new JsonRefused('too-deep', `JSON nested more than ${maxDepth} deep`);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new JsonRefused('malformed', error instanceof Error ? error.message.slice(0, 200) : 'not JSON');
  }
}

function isLarger(source: string | Uint8Array, maxBytes: number): boolean {
  if (typeof source !== 'string') return source.byteLength > maxBytes;
  if (source.length > maxBytes) return true;
  // A UTF-16 unit is three bytes of UTF-8 at most: only what comes near the limit is counted.
  return source.length * 3 > maxBytes && new TextEncoder().encode(source).byteLength > maxBytes;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** Counts brackets outside strings. Of a text that is not JSON it may say anything; the parser refuses that. */
export function isDeeper(text: string, maxDepth: number): boolean {
  // Shorter than that many opening brackets: most texts are answered here.
  if (text.length <= maxDepth) return false;
  let depth = 0;
  let quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    if (quoted) {
      if (unit === BACKSLASH) at += 1;
      else if (unit === QUOTE) quoted = false;
    } else if (unit === QUOTE) quoted = true;
    else if (unit === OPEN_ARRAY || unit === OPEN_OBJECT) {
      depth += 1;
      if (depth > maxDepth) return true;
    } else if (unit === CLOSE_ARRAY || unit === CLOSE_OBJECT) depth -= 1;
  }
  return false;
}
