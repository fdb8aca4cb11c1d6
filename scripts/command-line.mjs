// Puts the command line, and what the package exports, into a few files, split where it loads code only when that is needed: to find, read and link
// two hundred files is most of what a Worker does in its first half second. What the files know about their own place stays true.
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

/** One that is not installed counts as one: Node takes a little longer to import it, when it is there one day. */
function isModule(path) {
  const [scope = '', name = ''] = path.split('/');
  const file = join(root, 'node_modules', scope, scope.startsWith('@') ? name : '', 'package.json');
  return !existsSync(file) || require(file).type === 'module';
}

// What an earlier build has left: the names of the parts change with what is in them.
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
