// Bundles the command line, and the exports of the package, into a few files, split where code is loaded on demand: finding,
// reading and linking two hundred files takes most of a Worker's first half second. Paths derived from a file's own location stay
// correct.
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const compiled = join(root, 'build', 'src');
const cli = join(compiled, 'cli');
const compat = join(compiled, 'wires', 'queue-xec', 'compat');
const outdir = join(cli, 'bundle');
const wires = join(compiled, 'wires');
const exportedWires = readdirSync(wires).filter((name) => existsSync(join(wires, name, 'index.js')));
const require = createRequire(import.meta.url);

/** In the bundle, `import.meta.url` remains that of the compiled file. */
const ownPlace = {
  name: 'own-place',
  setup({ onLoad }) {
    onLoad({ filter: /\.js$/ }, async ({ path }) => {
      if (!path.startsWith(compiled + sep)) return undefined;
      const text = await readFile(path, 'utf8');
      if (!text.includes('import.meta.')) return undefined;
      const url = (target) => `new URL(${JSON.stringify(relative(outdir, target).replaceAll(sep, '/'))}, import.meta.url)`;
      const places = { url: `${url(path)}.href`, filename: `pathOfBundled(${url(path)})`, dirname: `pathOfBundled(${url(dirname(path))})` };
      const contents = text.replace(/import\.meta\.(url|filename|dirname)\b/g, (_, what) => places[what]);
      return { contents: `import { fileURLToPath as pathOfBundled } from 'node:url';\n${contents}` };
    });
  },
};

/**
 * Leaves packages external. CommonJS packages are loaded by require: importing them takes Node three times as long, because it
 * analyses their exports.
 */
const packagesOutside = {
  name: 'packages-outside',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^[@a-z]/ }, ({ path, kind, namespace }) => {
      if (path.startsWith('node:')) return { path, external: true };
      if (namespace === 'required' || kind !== 'import-statement' || isModule(path)) return { path, external: true };
      return { path, namespace: 'required' };
    });
    onLoad({ filter: /./, namespace: 'required' }, ({ path }) => ({
      contents: `module.exports = require(${JSON.stringify(path)});`,
      loader: 'js',
    }));
  },
};

/** A package that is not installed counts as a module: importing it later, once it is installed, takes Node only slightly longer. */
function isModule(path) {
  const [scope = '', name = ''] = path.split('/');
  const file = join(root, 'node_modules', scope, scope.startsWith('@') ? name : '', 'package.json');
  return !existsSync(file) || require(file).type === 'module';
}

// Removes output of earlier builds: the names of chunks change with their contents.
rmSync(outdir, { recursive: true, force: true });
await build({
  entryPoints: {
    main: join(cli, 'main.js'),
    'supervisor-main': join(cli, 'service', 'supervisor-main.js'),
    'worker-main': join(cli, 'service', 'worker-main.js'),
    index: join(compiled, 'index.js'),
    ...Object.fromEntries(exportedWires.map((name) => [`wire-${name}`, join(wires, name, 'index.js')])),
    'queue-xec': join(compat, 'index.js'),
    'queue-xec-master': join(compat, 'master.js'),
    'queue-xec-worker': join(compat, 'worker.js'),
  },
  outdir,
  bundle: true,
  splitting: true,
  chunkNames: '[name]-[hash]',
  platform: 'node',
  format: 'esm',
  target: 'node20',
  banner: { js: "import { createRequire as requireOfBundle } from 'node:module';\nconst require = requireOfBundle(import.meta.url);" },
  plugins: [ownPlace, packagesOutside],
});
