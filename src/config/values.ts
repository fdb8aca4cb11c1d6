/** Parsers for option values given as text. They return undefined for values that are not allowed. */

/** Parses the last of the given values. */
export const single =
  <T>(read: (text: string) => T | undefined) =>
  (given: readonly string[]): T | undefined =>
    read(given.at(-1) ?? '');

/** Accepts a list if every value is accepted. */
export const every =
  (accept: (text: string) => boolean) =>
  (given: readonly string[]): readonly string[] | undefined =>
    given.every(accept) ? given : undefined;

/** Accepts any text. */
export const anyText = single((text) => text);

/** Parses an integer from `min` to `max`. */
export const wholeNumber = (min: number, max: number) =>
  single((text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    return value >= min && value <= max ? value : undefined;
  });

/** Parses yes, true, on, 1 or no, false, off, 0. */
export const yesOrNo = single((text) => (/^(yes|true|on|1)$/i.test(text) ? true : /^(no|false|off|0)$/i.test(text) ? false : undefined));

/** Parses one of these values, ignoring case. */
export const oneOf = <T extends string>(values: readonly T[]) => single((text) => values.find((value) => value === text.toLowerCase()));

export const ALLOWED_NETWORK = '`none`, `internet`, host:port, or a name with a dot or an address for all of its ports';

/** Whether a text is one entry of a network list. A name without dot and port is refused because it could be a mistake, such as `deny`. */
const isNetworkWord = (text: string): boolean =>
  /^(?:none|internet|(?:\[[\da-f:.]+\]|[^\s:/?#@[\]]+):\d{1,5}|[^\s:/?#@[\]]+\.[^\s:/?#@[\]]*|[\da-f:.]*:[\da-f:.]*:[\da-f:.]*)$/i.test(
    text,
  );

/**
 * Accepts one entry per flag, or several separated by commas as in a variable: read as a single entry, a list with a comma would
 * match no host and open nothing.
 */
export const networkWords = (given: readonly string[]): readonly string[] | undefined =>
  every(isNetworkWord)(given.flatMap((text) => text.split(',').map((word) => word.trim())));

export const isTrackerUrl = (text: string) => /^wss?:$/.test(protocolOf(text));

function protocolOf(url: string): string {
  return URL.canParse(url) ? new URL(url).protocol : '';
}

const TIME_UNITS_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** How long ended jobs are kept, in milliseconds. */
export interface Retention {
  readonly completedMs?: number;
  readonly failedMs?: number;
  readonly cancelledMs?: number;
}

/** Parses entries such as `completed=7d`; undefined if one is invalid. */
export function readRetention(given: readonly string[]): Retention | undefined {
  const kept: { -readonly [S in keyof Retention]: Retention[S] } = {};
  for (const text of given) {
    const [, state, count = '', unit = ''] = /^(completed|failed|cancelled)=(\d{1,6})([smhd])$/.exec(text) ?? [];
    if (state === undefined) return undefined;
    kept[`${state}Ms` as keyof Retention] = Number(count) * (TIME_UNITS_MS[unit] ?? 0);
  }
  return kept;
}

/** The address that HTTP listens on, or `off`. */
export type HttpAddress = 'off' | { readonly host?: string; readonly port: number };

/** Parses `off`, a port, or `host:port`; undefined if invalid. */
export function readHttpAddress(text: string): HttpAddress | undefined {
  if (text === 'off') return 'off';
  const [, host, port = ''] = /^(?:(\[[0-9a-f:.]+\]|[^:\s]+):)?(\d{1,5})$/i.exec(text) ?? [];
  if (port === '' || Number(port) > 65_535) return undefined;
  return { port: Number(port), ...(host !== undefined && { host: host.replace(/^\[|\]$/g, '') }) };
}

/** Parses entries `name=value` into an object; undefined if a name occurs twice. */
export function pairs(given: readonly string[]): Readonly<Record<string, string>> | undefined {
  const found = new Map<string, string>();
  for (const text of given) {
    const at = text.indexOf('=');
    const name = text.slice(0, at).trim();
    const value = text.slice(at + 1).trim();
    if (at < 0 || name === '' || value === '' || found.has(name)) return undefined;
    found.set(name, value);
  }
  return Object.fromEntries(found);
}

/** Checks the same, but keeps the text as written, since options are written back to `.env`. */
export const everyPair = (given: readonly string[]): readonly string[] | undefined => (pairs(given) === undefined ? undefined : given);
