import { PeerworkError } from '../../errors.js';
import type { Ledger } from '../../ledger/ledger.js';

const MAX_SHOWN = 5;

/** The id that is given, or the only one that begins like it. Throws `job-unknown`, or `job-ambiguous` with some of those it may be. */
export async function wholeId(ledger: Ledger, given: string): Promise<string> {
  const found = await ledger.idsLike(given, MAX_SHOWN + 1);
  if (found.length === 1 || found[0] === given) return found[0] as string;
  if (found.length === 0) throw new PeerworkError('job-unknown', given);
  const shown = found.slice(0, MAX_SHOWN).map((id) => JSON.stringify(id));
  throw new PeerworkError('job-ambiguous', `${JSON.stringify(given)} may be ${shown.join(', ')}${found.length > MAX_SHOWN ? ' …' : ''}`);
}
