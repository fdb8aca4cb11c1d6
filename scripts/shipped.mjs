// Writes build/src/.npmignore. Of the compiled output only this is published: the bundles, the types they expose, and the files
// that are started or read by path. Everything else is in the bundles already.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const compiled = join(root, 'build', 'src');
const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

const files = readdirSync(compiled, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
const read = (file) => readFileSync(file, 'utf8');
const isCode = (file) => /\.c?js$/.test(file);

/** Returns the files together with everything they import, transitively. */
function withImports(start, extension) {
  const found = new Set(start);
  for (const file of found)
    for (const [, specifier] of read(file).matchAll(/(?:from\s+|import\(\s*|import\s+)['"](\.[^'"]+)['"]/g)) {
      const target = resolve(dirname(file), specifier).replace(/\.js$/, extension);
      if (existsSync(target)) found.add(target);
    }
  return found;
}

const types = Object.values(exports).flatMap(({ types: file }) => (file === undefined ? [] : [join(root, file)]));
const bundles = files.filter((file) => file.startsWith(join(compiled, 'cli', 'bundle') + sep));
// A module that knows its own location passes it to other processes.
const placed = files.filter(
  (file) => isCode(file) && !bundles.includes(file) && /\bimport\.meta\.(url|filename|dirname)\b/.test(read(file)),
);
const byPath = files.filter(
  (file) => isCode(file) && /[\\/](task-module[\\/]child[\\/]|openfn[\\/]runner[\\/]compiler[\\/]|preload\.cjs)/.test(file),
);

const shipped = new Set([...withImports(types, '.d.ts'), ...bundles, ...placed, ...withImports(byPath, '.js')]);
const left = files.filter((file) => !shipped.has(file)).map((file) => `/${relative(compiled, file).split(sep).join('/')}`);
writeFileSync(join(compiled, '.npmignore'), `${left.sort().join('\n')}\n`);
