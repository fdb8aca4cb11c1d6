const MAX_CHARS = 100;

/**
 * Formats a foreign value for a message: short, on one line, without terminal control characters. Avoids `String`, which would call
 * the value's own `toString`.
 */
export function shown(value: unknown): string {
  const text = typeof value === 'string' ? JSON.stringify(shortened(value)) : shortened(JSON.stringify(value) ?? typeof value);
  return text.replace(/[^\x20-\x7e…]/g, '?');
}

function shortened(text: string): string {
  return text.length > MAX_CHARS ? `${text.slice(0, MAX_CHARS)}…` : text;
}
