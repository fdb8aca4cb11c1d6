import { tryParseJson } from './json.js';

/**
 * Parses a JSON text down to `maxDepth`, with null in place of everything deeper. Identifies the sender of a text that is refused
 * as a whole, so that it can be told why. Undefined if the text is not JSON or exceeds `maxBytes`.
 */
export function outlineOf(text: string, { maxBytes, maxDepth }: { readonly maxBytes: number; readonly maxDepth: number }): unknown {
  if (text.length > maxBytes) return undefined;
  const pieces: string[] = [];
  let depth = 0;
  let from = 0;
  for (let at = 0; at < text.length; at += 1) {
    const unit = text[at];
    if (unit === '"') {
      at = endOfString(text, at + 1);
      if (at === -1) return undefined;
    } else if (unit === '[' || unit === '{') {
      if (depth === maxDepth) pieces.push(text.slice(from, at), 'null');
      depth += 1;
    } else if (unit === ']' || unit === '}') {
      depth -= 1;
      if (depth === maxDepth) from = at + 1;
    }
  }
  if (depth <= maxDepth) pieces.push(text.slice(from));
  return tryParseJson(pieces.join(''), { maxBytes });
}

/** Index of the closing quote; -1 if there is none. */
function endOfString(text: string, from: number): number {
  for (let at = from; at < text.length; at += 1) {
    const unit = text[at];
    if (unit === '"') return at;
    if (unit === '\\') at += 1;
  }
  return -1;
}
