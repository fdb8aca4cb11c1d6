/**
 * Structured log with one line per event: `time level message key=value …`. Secrets registered with `conceal` never reach the sink,
 * whatever the level and wherever they appear in the line.
 */
import { knownError, PeerworkError } from './errors.js';
import { messageOf } from './kit/error-parts.js';

export const logLevels = ['off', 'error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof logLevels)[number];

export type LogFields = Readonly<Record<string, unknown>>;

/** A log with levels; fields are appended as `key=value`. */
export interface Log {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  /** Returns a log that adds these fields to each of its lines. */
  with(fields: LogFields): Log;
}

export interface LogOptions {
  readonly level: LogLevel;
  /** Receives one finished line, without its line end. */
  readonly write: (line: string) => void;
  readonly now?: () => number;
}

/** Process-wide on purpose: a secret must not leak through another component's log either. */
const secrets = new Set<string>();

/**
 * Keeps `secret` out of every log of this process. Strings shorter than 8 characters are ignored, since they would blot out
 * ordinary words.
 */
export function conceal(secret: string): void {
  if (secret.length < 8) return;
  secrets.add(secret);
  // Also in the form it takes inside a quoted field.
  secrets.add(JSON.stringify(secret).slice(1, -1));
}

/** Tokens are recognised by their format as well: one that was pasted into the wrong place was never registered. */
const TOKEN = /\bpw\d{1,2}\.[\w-]{20,}/g;

/** Replaces registered secrets, and anything in the format of a token, by `[secret]`. */
export function redact(text: string): string {
  let clean = text;
  for (const secret of secrets) clean = clean.replaceAll(secret, '[secret]');
  return clean.includes('pw') ? clean.replace(TOKEN, '[secret]') : clean;
}

/** Whether a text contains a token. */
export function holdsToken(text: string): boolean {
  return text.search(TOKEN) !== -1;
}

/** Redacts input that could not be parsed. It may be any secret, or half of one, so anything that looks random is hidden. */
export function withoutSecrets(input: string): string {
  return redact(input).replace(/[\w-]{20,}/g, (word) => (/[a-z]/.test(word) && /[A-Z]/.test(word) && /\d/.test(word) ? '[secret]' : word));
}

/** Creates a log that writes lines up to this level. */
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

/** A log that writes nothing. */
export const silentLog: Log = createLog({ level: 'off', write: () => {} });

/** Returns the hint of a warning or error whose line carries its code. */
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

/** Creates the log used by the embedded classes. It writes to stderr so that stdout stays with the host program. */
export function logToStderr(level: LogLevel): Log {
  return createLog({ level, write: (line) => process.stderr.write(`${line}\n`) });
}

/** Default for a Worker or Master embedded in a program; the command line shows more. */
export const DEFAULT_LOG_LEVEL: LogLevel = 'warn';

/** Returns the log that a program's options ask for. Throws `option-invalid` for an unknown level. */
export function logOf({ log, loglevel = DEFAULT_LOG_LEVEL }: { readonly log?: Log; readonly loglevel?: LogLevel }): Log {
  if (!logLevels.includes(loglevel))
    throw new PeerworkError('option-invalid', `loglevel is ${formatValue(loglevel)}, it must be one of ${logLevels.join(', ')}`);
  return log ?? logToStderr(loglevel);
}

/** Masks the password of a URL for messages, so that a mistyped address stays readable. */
export function withoutPassword(url: string): string {
  return url.replace(/\/\/.*@/, '//…@').replace(/(password=)[^&]*/gi, '$1…');
}
