import { PeerworkError } from '../../../errors.js';
import { type LogLevel, redact } from '../../../log.js';
import { Helper } from './helper.js';

/** queue-xec's levels by number; messages above the configured number are dropped. */
const codes = { off: 0, info: 1, warn: 2, error: 3, debug: 4 } as const;

export const FgYellow = '\x1b[33m';
export const FgRed = '\x1b[31m';
export const FgCyan = '\x1b[36m';
export const FgMagenta = '\x1b[35m';
export const FgGreen = '\x1b[32m';
export const Reset = '\x1b[0m';

export interface LoggerOptions {
  /** `off`, `info`, `warn`, `error` or `debug`, each including those before it; default `off`. */
  readonly level?: string | null;
  /** Also receives the lines, without colours. */
  readonly writeStream?: { write(text: string): unknown } | false | null;
}

/**
 * `Logger` of queue-xec, for programs that use it: writes lines to stdout with known secrets redacted. peerwork's own log goes to stderr.
 */
export class Logger {
  level: number;
  readonly stream: { write(text: string): unknown } | undefined;

  /** Throws `option-invalid` for an unknown level. */
  constructor({ level, writeStream }: LoggerOptions = {}) {
    this.level = this.translateToCode(level);
    this.stream = writeStream || undefined;
  }

  translateToCode(level: string | null | undefined): number {
    return levelCode(level);
  }

  info(message: unknown, extra?: unknown): void {
    if (this.level >= 1) this.#write('INFO', '', message, extra);
  }

  warn(message: unknown, extra?: unknown): void {
    if (this.level >= 2) this.#write('WARN', FgYellow, message, extra);
  }

  error(message: unknown, extra?: unknown): void {
    if (this.level >= 3) this.#write('ERROR', FgRed, message, extra);
  }

  debug(message: unknown, extra?: unknown): void {
    if (this.level >= 4) this.#write('DEBUG', FgMagenta, message, extra);
  }

  /** Logs at any level, and exits with code 255. */
  fatal(message: unknown, extra?: unknown): never {
    this.#write('FATAL', FgRed, message ?? 'without a reason', extra);
    return process.exit(255);
  }

  /** Writes to the stream only. */
  writeToFile(message: unknown, extra: unknown = ''): void {
    this.stream?.write(`${redact(`${textOf(message)}${textOf(extra)}`)}\n`);
  }

  #write(word: string, colour: string, message: unknown, extra: unknown): void {
    const time = Helper.LocalTime(Date.now());
    const rest = extra === undefined ? '' : ` ${textOf(extra)}`;
    const text = redact(`${textOf(message)}${rest}`);
    process.stdout.write(`${time} [${colour}${word}${colour && Reset}] > ${text}\n`);
    this.stream?.write(`${time} [${word}] ${text}\n`);
  }
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  if (value instanceof Error) return value.message;
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

/**
 * Returns the number of a level, ignoring case; absent means `off`. Throws `option-invalid` for an unknown word, which queue-xec treats as
 * `off`.
 */
function levelCode(level: string | null | undefined): number {
  const name = String(level ?? 'off').toLowerCase();
  // queue-xec's sample settings use this level, but its code does not know it.
  const code = name === 'fatal' ? codes.error : Object.hasOwn(codes, name) ? codes[name as keyof typeof codes] : undefined;
  if (code === undefined)
    throw new PeerworkError('option-invalid', `loglevel is ${JSON.stringify(level)}, it must be one of ${Object.keys(codes).join(', ')}`);
  return code;
}

/** Level of peerwork's own log for a queue-xec level. The default is `warn`, so that warnings are never missed. */
export function logLevelOf(level: string | null | undefined): LogLevel {
  const levelName = level ?? process.env['LOG_LEVEL'];
  if (levelName === undefined || levelName === '') return 'warn';
  const code = levelCode(levelName);
  return (['off', 'info', 'warn', 'error', 'debug'] as const)[code] ?? 'warn';
}
