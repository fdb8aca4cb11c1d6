import { PeerworkError } from '../errors.js';
import type { PlannedPackage } from './install-plan.js';
import { MAX_LOCK_BYTES } from './manifest.js';
import type { NpmResult } from './npm.js';
import { readJson } from './package-fields.js';

/** npm is started for each of them: 0.3 s. */
const MAX_WEAK = 64;

/**
 * A package may be locked by SHA-1 alone only where the registry has nothing better for that version either, as for what was published before 2017
 * on some of them. `npm` runs it with these arguments. Rejects with `dependencies-refused`, or `dependencies-failed` if the registry does not answer.
 */
export async function confirmWeak(
  packages: readonly PlannedPackage[],
  npm: (args: readonly string[]) => Promise<NpmResult>,
): Promise<void> {
  const weak = packages.filter(({ integrity }) => integrity.startsWith('sha1-'));
  if (weak.length > MAX_WEAK) throw new PeerworkError('dependencies-refused', `${weak.length} packages are locked by SHA-1 only`);
  for (const { name, version, integrity } of weak) {
    const { fault, stdout } = await npm(['view', `${name}@${version}`, 'dist', '--json']);
    if (fault !== undefined) throw new PeerworkError('dependencies-failed', fault);
    const dist = readJson(stdout, MAX_LOCK_BYTES, `what the registry says of ${name}`);
    const known = typeof dist === 'object' && dist !== null ? (dist as Readonly<Record<string, unknown>>) : {};
    const { integrity: stronger, shasum } = known;
    if (typeof stronger === 'string' && /\bsha(?:256|384|512)-/.test(stronger))
      throw new PeerworkError('dependencies-refused', `${name} ${version} is locked by SHA-1, but the registry has a stronger digest`);
    const digest = Buffer.from(integrity.slice('sha1-'.length), 'base64').toString('hex');
    if (shasum !== digest) throw new PeerworkError('dependencies-refused', `${name} ${version} has another SHA-1 in the registry`);
  }
}
