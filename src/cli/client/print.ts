import { table } from '../figures.js';

/** Writes a line to stdout. With `quietPipes`, a reader that has seen enough (`| head`) ends the program quietly. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Prints a value as one line of JSON. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value));
}

/** Prints a table with a heading; prints nothing if there are no rows. */
export function printTable(heading: readonly string[], rows: readonly (readonly string[])[]): void {
  if (rows.length > 0) print(table([heading, ...rows]));
}

/** Ends the program quietly when the reader of stdout closes the pipe. */
export function quietPipes(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}

/** Formats an instant as ISO 8601 without milliseconds; `-` if undefined. */
export function instant(ms: number | undefined): string {
  return ms === undefined ? '-' : new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}

/** Parses `90s`, `15m`, `12h`, `7d`, or plain milliseconds; undefined if invalid. */
export function milliseconds(text: string): number | undefined {
  const [, count, unit = 'ms'] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(text) ?? [];
  if (count === undefined) return undefined;
  return Math.round(Number(count) * ({ ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[unit] ?? 1));
}
