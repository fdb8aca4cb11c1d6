// Writes build/packages: for each set of optional packages, the files from which `npm ci` installs the tested versions.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { digestOf, locked, lockPart, root } from './lock-part.mjs';

const { packageSets } = await import('../build/src/kit/package-sets.js');
const to = join(root, 'build', 'packages');

rmSync(to, { recursive: true, force: true });
for (const [name, { packages }] of Object.entries(packageSets)) {
  const { manifest, lock } = lockPart(packages, { name: `peerwork-${name}`, private: true });
  const versions = packages.map((each) => `${each}@${locked[`node_modules/${each}`].version}`);
  const peerwork = { specs: versions, folder: `${versions[0].replace('/', '+')}-${digestOf(lock)}` };
  mkdirSync(join(to, name), { recursive: true });
  writeFileSync(join(to, name, 'package.json'), `${JSON.stringify({ ...manifest, peerwork }, null, 2)}\n`);
  writeFileSync(join(to, name, 'package-lock.json'), `${JSON.stringify(lock)}\n`);
}
