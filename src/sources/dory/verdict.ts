import type { Outcome } from '../../job/job.js';
import type { Verdict } from './journal.js';
import type { HelperExit } from './shapes.js';

/** What docker says when a container could not be started; said for it when none got that far. */
const EXIT_NOT_STARTED = 125;
/** As of a program ended by SIGTERM. */
export const EXIT_CANCELLED = 143;
/** Of a helper that just stops helping. */
export const LEFT: Verdict = { status: 'completed', exitCode: 0 };

/** How the containers of a run ended, the worst of their exit codes found by the runner; undefined if it was given back unfinished. */
export function verdictOf(outcome: Outcome): Verdict | undefined {
  if (outcome.state === 'released') return undefined;
  if (outcome.state === 'completed') return { status: 'completed', exitCode: 0 };
  return failure(outcome.error.message, outcome.error.exitCode || EXIT_NOT_STARTED);
}

export function failure(error: string, exitCode = EXIT_NOT_STARTED): Verdict {
  return { status: 'failed', exitCode, error };
}

/** With what the helpers reported when they left. */
export function withHelpers(own: Verdict, exits: readonly HelperExit[]): Verdict {
  const worst = exits.reduce((most, each) => (each.exitCode > most.exitCode ? each : most), { workerId: '', exitCode: own.exitCode });
  if (worst.exitCode <= own.exitCode) return own;
  return failure(own.error ?? `containers of the helper ${worst.workerId} ended with ${worst.exitCode}`, worst.exitCode);
}
