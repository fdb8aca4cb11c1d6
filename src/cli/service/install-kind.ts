import { existsSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

/** How this peerwork was installed: a clone of the repository, npx's cache, a dependency of a project, or a global package. */
export type InstallKind = 'clone' | 'npx' | 'project' | 'global';

/** The folder of our own package.json. */
export const packageFolder = fileURLToPath(new URL('../../../..', import.meta.url)).replace(/[\\/]$/, '');

/** Determines from the package folder how peerwork was installed. */
export function installKind(folder = packageFolder): InstallKind {
  if (folder.split(sep).includes('_npx')) return 'npx';
  const above = dirname(folder);
  if (basename(above) !== 'node_modules') return 'clone';
  // npm keeps global packages in `<prefix>/lib/node_modules` (`<prefix>/node_modules` on Windows), without a package.json above.
  return existsSync(join(dirname(above), 'package.json')) ? 'project' : 'global';
}
