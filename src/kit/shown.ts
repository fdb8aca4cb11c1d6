/** A foreign value in a message: short, on one line, without anything that a terminal obeys. Not by `String`, which asks an object's own `toString`. */
export function shown(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? typeof value);
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text).replace(/[^\x20-\x7e…]/g, '?');
}
