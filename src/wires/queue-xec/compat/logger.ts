import { PeerworkError } from '../../../errors.js';
import { type LogLevel, redact } from '../../../log.js';
import { Helper } from './helper.js';

/** queue-xec's levels, each with its number: what has a higher one is not told. */
const codes = { off: 0, info: 1, warn: 2, error: 3, debug: 4 } as const;

export const FgYellow = '\x1b[33m';
export const FgRed = '\x1b[31m';
export const FgCyan = '\x1b[36m';
export const FgMagenta = '\x1b[35m';
export const FgGreen = '\x1b[32m';
export const Reset = '\x1b[0m';

export interface LoggerOptions {
  /** `off`, `info`, `warn`, `error` or `debug`, each telling what those before it do as well; default `off`. */
  readonly level?: string | null;
  /** Takes the lines too, without colours. */
  readonly writeStream?: { write(text: string): unknown } | false | null;
}

/** `Logger` of queue-xec, for programs that use it: lines on stdout. Known secrets are left out of them. peerwork's own log goes to stderr. */
export class Logger {
  level: number;
  readonly stream: { write(text: string): unknown } | undefined;

  /** Throws `option-invalid` for a level that there is not. */
  constructor({ level, writeStream }: LoggerOptions = {}) {
    this.level = this.translateToCode(level);
    this.stream = writeStream || undefined;
  }

  translateToCode(level: string | null | undefined): number {
    return levelCode(level);
  }

  info(message: unknown, extra?: unknown): void {
    if (this.level >= 1) this.#tell('INFO', '', message, extra);
  }

  warn(message: unknown, extra?: unknown): void {
    if (this.level >= 2) this.#tell('WARN', FgYellow, message, extra);
  }

  error(message: unknown, extra?: unknown): void {
    if (this.level >= 3) this.#tell('ERROR', FgRed, message, extra);
  }

  debug(message: unknown, extra?: unknown): void {
    if (this.level >= 4) this.#tell('DEBUG', FgMagenta, message, extra);
  }

  /** Says it whatever the level, and ends the process with 255. */
  fatal(message: unknown, extra?: unknown): never {
    this.#tell('FATAL', FgRed, message ?? 'without a reason', extra);
    return process.exit(255);
  }

  /** To the stream alone. */
  writeToFile(message: unknown, extra: unknown = ''): void {
    this.stream?.write(`${redact(`${textOf(message)}${textOf(extra)}`)}\n`);
  }

  #tell(word: string, colour: string, message: unknown, extra: unknown): void {
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

/** The number of a level in any case; nothing is `off`. Throws `option-invalid`, where queue-xec takes a word that it does not know for `off`. */
function levelCode(level: string | null | undefined): number {
  const name = String(level ?? 'off').toLowerCase();
  // Its sample settings name it, its code does not.
  const code = name === 'fatal' ? codes.error : Object.hasOwn(codes, name) ? codes[name as keyof typeof codes] : undefined;
  if (code === undefined)
    throw new PeerworkError('option-invalid', `loglevel is ${JSON.stringify(level)}, it must be one of ${Object.keys(codes).join(', ')}`);
  return code;
}

/** What our own log tells then. Its default is `warn`, so that nothing that needs somebody goes unseen. */
export function logLevelOf(level: string | null | undefined): LogLevel {
  const given = level ?? process.env['LOG_LEVEL'];
  if (given === undefined || given === '') return 'warn';
  const code = levelCode(given);
  return (['off', 'info', 'warn', 'error', 'debug'] as const)[code] ?? 'warn';
}
