import { EXIT_REFUSED } from '../errors.js';
import { asKnownError } from '../kit/system-error.js';
import { redact, withoutSecrets } from '../log.js';

/** Exit code for "not set up" or "not logged in". 1 is reserved for "it ran, but jobs failed". */
export const EXIT_UNCONFIGURED = 3;
export { EXIT_REFUSED };

/** Returns the exit code of a command that failed with this error. */
export function exitCodeOf(thrown: unknown): number {
  return asKnownError(thrown).exitCode;
}

/** Prints to stderr what went wrong and how to resolve it. The stack is shown only with LOG_LEVEL=debug. */
export function printFailure(thrown: unknown): void {
  const error = asKnownError(thrown);
  const debug = process.env['LOG_LEVEL'] === 'debug' || /--log-level[= ]debug/.test(process.argv.join(' '));
  const cause = error.cause instanceof Error ? error.cause : error;
  const text = `peerwork: ${error.message}. ${error.hint} [${error.code}]\n${debug ? `${cause.stack ?? cause.message}\n` : ''}`;
  process.stderr.write(redact(text));
}

/** Formats commander's message for an invalid command line. Any word in it may be a secret, or contain one after `=`. */
export function usageError(text: string): string {
  const named = text
    .replace(/^error: /, 'peerwork: ')
    .replace(/'(--[\w-]+)=[\s\S]*'/, "'$1'")
    .replace(/'(-[^-\s])[^'\s][^']*'/, "'$1'");
  return withoutSecrets(named);
}
