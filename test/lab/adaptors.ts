import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** Creates a folder of adaptors for the engine, with the language-common that is installed here anyway: no test needs a registry. */
export function adaptorFolder(folder: string): { readonly folder: string; readonly common: string } {
  const engine = createRequire(import.meta.url).resolve('@openfn/engine-multi');
  const entry = createRequire(engine).resolve('@openfn/language-common');
  const root = dirname(entry).replace(/[\\/]dist.*$/, '');
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  const alias = `@openfn/language-common_${version}`;
  mkdirSync(join(folder, 'node_modules', '@openfn'), { recursive: true });
  symlinkSync(root, join(folder, 'node_modules', alias));
  const manifest = { name: 'adaptors', private: true, dependencies: { [alias]: `npm:@openfn/language-common@${version}` } };
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest));
  return { folder, common: `@openfn/language-common@${version}` };
}
