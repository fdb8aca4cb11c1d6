import { PeerworkError } from '../../errors.js';
import { parseToken } from '../../swarm/token.js';
import { printFailure } from '../failure.js';
import type { Options } from '../option-table.js';
import { wires } from '../wires.js';

/** Throws `worker-unconfigured`, or what is wrong with the token, if a Worker with these options could not even start. */
export function demandConfiguration(options: Options): void {
  const served = wires.filter((source) => source.configured(options));
  if (options.token !== undefined) parseToken(options.token);
  else if (served.length === 0) throw new PeerworkError('worker-unconfigured');
}

/**
 * Resolves with true, after printing the reason to stderr, if a person has to act first, for example to log in: the command then
 * exits with 3.
 */
export async function refuseUnready(options: Options): Promise<boolean> {
  for (const source of wires) {
    if (!source.configured(options)) continue;
    try {
      await source.ready?.(options);
    } catch (thrown) {
      printFailure(thrown);
      return true;
    }
  }
  return false;
}
