/**
 * Formats a stranger's text for a terminal, a log or a label: one line of at most `maxChars` characters. Control characters and line
 * separators become spaces; characters that reorder text or have no glyph are dropped. Looks at the beginning only, because the text may be huge.
 */
export function printable(text: string, maxChars: number): string {
  const line = text
    .slice(0, 4 * maxChars)
    .replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, ' ')
    .replace(/\p{C}/gu, '')
    .trim();
  return line.length <= maxChars ? line : [...line].slice(0, maxChars).join('');
}
