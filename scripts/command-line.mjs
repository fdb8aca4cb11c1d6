// Puts the command line into a few files, split where it loads code only when that is needed: to find, read and link two hundred files is most of
// what a Worker does in its first half second. What the files know about their own place stays true, and the others stay where they are, for whoever
// imports the package.
import { rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const compiled = join(root, 'build', 'src');
const cli = join(compiled, 'cli');
const outdir = join(cli, 'bundle');
const require = createRequire(import.meta.url);

/** `import.meta.url` of a file in the bundle is that of the compiled file. */
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

/** Packages stay outside. Those that are CommonJS are required: to import them takes Node three times as long, as it looks for what they export. */
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

function isModule(path) {
  const [scope = '', name = ''] = path.split('/');
  return require(join(root, 'node_modules', scope, scope.startsWith('@') ? name : '', 'package.json')).type === 'module';
}

// What an earlier build has left: the names of the parts change with what is in them.
rmSync(outdir, { recursive: true, force: true });
await build({
  entryPoints: [join(cli, 'main.js'), join(cli, 'service', 'supervisor-main.js'), join(cli, 'service', 'worker-main.js')],
  entryNames: '[name]',
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
