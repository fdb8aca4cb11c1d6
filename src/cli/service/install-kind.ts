import { existsSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

/** How this peerwork came here: a clone of the repository, npx's cache, a dependency of a project, or a package for all. */
export type InstallKind = 'clone' | 'npx' | 'project' | 'global';

/** The folder that holds our package.json. */
export const packageFolder = fileURLToPath(new URL('../../../..', import.meta.url)).replace(/[\\/]$/, '');

export function installKind(folder = packageFolder): InstallKind {
  if (folder.split(sep).includes('_npx')) return 'npx';
  const above = dirname(folder);
  if (basename(above) !== 'node_modules') return 'clone';
  // npm keeps packages for all in `<prefix>/lib/node_modules` (on Windows in `<prefix>/node_modules`), with no package.json above.
  return existsSync(join(dirname(above), 'package.json')) ? 'project' : 'global';
}
