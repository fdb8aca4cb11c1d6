import { describeError } from '../errors.js';
import { VALUE_LIMITS } from '../job/limits.js';
import type { Settlement } from '../job/verbs.js';
import { formatJson, type JsonRefused } from '../kit/json.js';

/** A settlement whose output has been serialised to the text that is stored. */
export interface Settling extends Settlement {
  /** JSON text; undefined if there is no output. */
  readonly output: string | undefined;
}

/**
 * Serialises an output once, within the limits that its Worker should have enforced: later readers, such as children of the job, must be
 * able to parse it. An output beyond the limits fails the run without a retry, since another run would repeat it.
 */
export function settling(settlement: Settlement): Settling {
  const { outcome } = settlement;
  if (outcome.state === 'released') return { ...settlement, output: undefined };
  if (outcome.output === undefined) return { ...settlement, output: outcome.state === 'completed' ? 'null' : undefined };
  try {
    return { ...settlement, output: formatJson(outcome.output, VALUE_LIMITS) };
  } catch (thrown) {
    const { reason, message } = thrown as JsonRefused;
    const code = reason === 'too-large' ? 'output-too-large' : 'output-unsendable';
    const { holdMs } = outcome;
    const fault = describeError(code, message);
    // The run's own error is more useful than what is wrong with its output.
    if (outcome.state === 'failed') {
      const error = { ...outcome.error, message: `${outcome.error.message} (what it had made is not kept: ${fault})` };
      return { ...settlement, outcome: { state: 'failed', error, retry: outcome.retry, holdMs }, output: undefined };
    }
    return { ...settlement, outcome: { state: 'failed', error: { code, message: fault }, retry: false, holdMs }, output: undefined };
  }
}
