import { asPeerworkError, type ErrorCode } from '../errors.js';
import { redact, withoutSecrets } from '../log.js';

/** Refusals and wrong usage. 1 is kept for "it ran, but jobs failed". */
export const EXIT_REFUSED = 2;
/** Not set up, or not logged in. */
export const EXIT_UNCONFIGURED = 3;

const exitCodes: Readonly<Partial<Record<ErrorCode, number>>> = {
  'worker-unconfigured': EXIT_UNCONFIGURED,
  'service-missing': EXIT_UNCONFIGURED,
  'dory-key-missing': EXIT_UNCONFIGURED,
  'dory-key-refused': EXIT_UNCONFIGURED,
  'dory-login-refused': EXIT_UNCONFIGURED,
  'dory-credentials-unusable': EXIT_UNCONFIGURED,
  'service-failed': 1,
  'update-failed': 1,
};

export function exitCodeOf(thrown: unknown): number {
  return exitCodes[asPeerworkError(thrown).code] ?? EXIT_REFUSED;
}

/** Says on stderr what went wrong and what to do about it. The stack is for those who asked for LOG_LEVEL=debug. */
export function printFailure(thrown: unknown): void {
  const error = asPeerworkError(thrown);
  const debug = process.env['LOG_LEVEL'] === 'debug' || /--log-level[= ]debug/.test(process.argv.join(' '));
  const cause = error.cause instanceof Error ? error.cause : error;
  const text = `peerwork: ${error.message}. ${error.todo} [${error.code}]\n${debug ? `${cause.stack ?? cause.message}\n` : ''}`;
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
