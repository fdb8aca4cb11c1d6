/**
 * One line per event: `time level message key=value …`. Secrets that were made known with `conceal` never reach the
 * sink, whatever the level and wherever in the line they stand.
 */
import { knownError, PeerworkError } from './errors.js';
import { messageOf } from './kit/error-parts.js';

export const logLevels = ['off', 'error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof logLevels)[number];

export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  /** A log that adds these fields to each of its lines. */
  with(fields: LogFields): Log;
}

export interface LogOptions {
  readonly level: LogLevel;
  /** Takes one finished line without its line end. */
  readonly write: (line: string) => void;
  readonly now?: () => number;
}

/** Process-wide on purpose: a secret must not leak through somebody else's log either. */
const secrets = new Set<string>();

/** Makes sure that `secret` is never written to any log of this process. Short strings are ignored: they would blot out words. */
export function conceal(secret: string): void {
  if (secret.length < 8) return;
  secrets.add(secret);
  // As it stands inside a quoted field.
  secrets.add(JSON.stringify(secret).slice(1, -1));
}

/** A token is known by its looks too: what was pasted into the wrong place was made known by nobody. */
const TOKEN = /\bpw\d{1,2}\.[\w-]{20,}/g;

export function redact(text: string): string {
  let clean = text;
  for (const secret of secrets) clean = clean.replaceAll(secret, '[secret]');
  return clean.includes('pw') ? clean.replace(TOKEN, '[secret]') : clean;
}

export function holdsToken(text: string): boolean {
  return text.search(TOKEN) !== -1;
}

/** For what somebody typed and nobody understands: it may be any secret, or the half of one, so nothing that looks like random characters is shown. */
export function withoutSecrets(typed: string): string {
  return redact(typed).replace(/[\w-]{20,}/g, (word) => (/[a-z]/.test(word) && /[A-Z]/.test(word) && /\d/.test(word) ? '[secret]' : word));
}

export function createLog(options: LogOptions): Log {
  const rank = logLevels.indexOf(options.level);
  const now = options.now ?? Date.now;
  const make = (bound: LogFields): Log => {
    const at = (level: LogLevel) => {
      if (logLevels.indexOf(level) > rank) return () => {};
      return (message: string, fields?: LogFields) =>
        options.write(
          redact(
            `${new Date(now()).toISOString()} ${level.padEnd(5)} ${message}${formatFields(bound)}${formatFields(fields)}${hintOf(level, fields)}`,
          ),
        );
    };
    return {
      error: at('error'),
      warn: at('warn'),
      info: at('info'),
      debug: at('debug'),
      with: (fields) => make({ ...bound, ...fields }),
    };
  };
  return make({});
}

export const silentLog: Log = createLog({ level: 'off', write: () => {} });

/** What to do about a warning or an error whose line says its code. */
function hintOf(level: LogLevel, { code, error, hint }: LogFields = {}): string {
  if ((level !== 'warn' && level !== 'error') || hint !== undefined) return '';
  const known = knownError(code) ?? (error instanceof PeerworkError ? error : undefined);
  return known === undefined ? '' : ` hint=${formatValue(known.hint)}`;
}

function formatFields(fields: LogFields | undefined): string {
  if (fields === undefined) return '';
  let text = '';
  for (const [key, value] of Object.entries(fields)) if (value !== undefined) text += ` ${key}=${formatValue(value)}`;
  return text;
}

function formatValue(value: unknown): string {
  if (value instanceof Error) return JSON.stringify(messageOf(value));
  if (typeof value === 'string') return /^[\w.:/@+-]+$/.test(value) ? value : JSON.stringify(value);
  return JSON.stringify(value) ?? String(value);
}

/** The log of the embedded classes: stderr, so that the host program's stdout stays its own. */
export function logToStderr(level: LogLevel): Log {
  return createLog({ level, write: (line) => process.stderr.write(`${line}\n`) });
}

/** Of a Worker or Master in a program; the command line shows more. */
export const DEFAULT_LOG_LEVEL: LogLevel = 'warn';

/** The log of a program's options. Throws `option-invalid` for a level that there is not. */
export function logOf({ log, loglevel = DEFAULT_LOG_LEVEL }: { readonly log?: Log; readonly loglevel?: LogLevel }): Log {
  if (!logLevels.includes(loglevel))
    throw new PeerworkError('option-invalid', `loglevel is ${formatValue(loglevel)}, it must be one of ${logLevels.join(', ')}`);
  return log ?? logToStderr(loglevel);
}

/** For messages: an address with a typing error is shown, its password is not. */
export function withoutPassword(url: string): string {
  return url.replace(/\/\/.*@/, '//…@').replace(/(password=)[^&]*/gi, '$1…');
}
