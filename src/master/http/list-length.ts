const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/**
 * Whether a text of JSON is a list of more than `max` entries, found without making them: 11 MB that parse into a million objects hold up the event loop
 * for a second, this for a twentieth of it. Of what is not JSON it may say anything.
 */
export function isLongerList(bytes: Uint8Array, max: number): boolean {
  let depth = 0;
  let commas = 0;
  let quoted = false;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (quoted) {
      if (byte === BACKSLASH) at += 1;
      else if (byte === QUOTE) quoted = false;
    } else if (byte === QUOTE) quoted = true;
    else if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) {
      // An object is one job, however many fields it has.
      if (depth === 0 && byte === OPEN_OBJECT) return false;
      depth += 1;
    } else if (byte === CLOSE_ARRAY || byte === CLOSE_OBJECT) depth -= 1;
    else if (byte === COMMA && depth === 1) {
      commas += 1;
      if (commas >= max) return true;
    }
  }
  return false;
}
