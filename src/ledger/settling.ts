import { describeError } from '../errors.js';
import { VALUE_LIMITS } from '../job/limits.js';
import type { Settlement } from '../job/verbs.js';
import { formatJson, type JsonRefused } from '../kit/json.js';

/** A settlement whose output has become the text that is stored. */
export interface Settling extends Settlement {
  /** JSON text; undefined if there is none. */
  readonly output: string | undefined;
}

/**
 * Makes the text of an output once, held to the limits that its Worker should have held it to: a later reader, as of the output of a
 * parent say, must not fall over it. What exceeds them is a failure that another run would repeat.
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
    // Why it failed says more than what is wrong with the rest.
    if (outcome.state === 'failed') {
      const error = { ...outcome.error, message: `${outcome.error.message} (what it had made is not kept: ${fault})` };
      return { ...settlement, outcome: { state: 'failed', error, retry: outcome.retry, holdMs }, output: undefined };
    }
    return { ...settlement, outcome: { state: 'failed', error: { code, message: fault }, retry: false, holdMs }, output: undefined };
  }
}
