import { EXIT_REFUSED } from '../errors.js';
import { asKnownError } from '../kit/system-error.js';
import { redact, withoutSecrets } from '../log.js';

/** Not set up, or not logged in. 1 is kept for "it ran, but jobs failed". */
export const EXIT_UNCONFIGURED = 3;
export { EXIT_REFUSED };

export function exitCodeOf(thrown: unknown): number {
  return asKnownError(thrown).exitCode;
}

/** Says on stderr what went wrong and what to do about it. The stack is for those who asked for LOG_LEVEL=debug. */
export function printFailure(thrown: unknown): void {
  const error = asKnownError(thrown);
  const debug = process.env['LOG_LEVEL'] === 'debug' || /--log-level[= ]debug/.test(process.argv.join(' '));
  const cause = error.cause instanceof Error ? error.cause : error;
  const text = `peerwork: ${error.message}. ${error.hint} [${error.code}]\n${debug ? `${cause.stack ?? cause.message}\n` : ''}`;
  process.stderr.write(redact(text));
}

/** What commander says of a command line that it does not understand: a word of it may be a secret, or hold one behind `=`. */
export function usageError(text: string): string {
  const named = text
    .replace(/^error: /, 'peerwork: ')
    .replace(/'(--[\w-]+)=[\s\S]*'/, "'$1'")
    .replace(/'(-[^-\s])[^'\s][^']*'/, "'$1'");
  return withoutSecrets(named);
}
