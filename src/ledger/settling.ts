import { describeError } from '../errors.js';
import { VALUE_LIMITS } from '../job/limits.js';
import type { Settlement } from '../job/verbs.js';
import { formatJson, type JsonRefused } from '../kit/json.js';

/** A settlement whose output has become the text that is stored. */
export interface Settling extends Settlement {
  /** JSON text; `null` unless it completed. */
  readonly output: string;
}

/**
 * Makes the text of an output once, held to the limits that its Worker should have held it to: whoever is handed it later, as the output of a
 * parent say, must not fall over it. What exceeds them is a failure that another run would repeat.
 */
export function settling(settlement: Settlement): Settling {
  const { outcome } = settlement;
  if (outcome.state !== 'completed' || outcome.output === undefined) return { ...settlement, output: 'null' };
  try {
    return { ...settlement, output: formatJson(outcome.output, VALUE_LIMITS) };
  } catch (thrown) {
    const { reason, message } = thrown as JsonRefused;
    const code = reason === 'too-large' ? 'output-too-large' : 'output-unsendable';
    const error = { code, message: describeError(code, message) };
    return { ...settlement, outcome: { state: 'failed', error, retry: false, holdMs: outcome.holdMs }, output: 'null' };
  }
}
