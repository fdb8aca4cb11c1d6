// Bundles src/crawler into assets/crawler: one file that needs Node and nothing else, so that the image is built without npm.
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const from = join(root, 'src', 'crawler');
const to = join(root, 'assets', 'crawler');

/** Crawlee asks for its own memory by starting `ps`, which slim images lack: it ends the program there. */
const PS = `exports.psTree = async (pid) => [{ PID: String(pid), PPID: '0', STAT: 'R', RSS: String(process.memoryUsage.rss()), COMMAND: 'node' }];`;
/** What Crawlee loads and this crawler does not use: another HTTP client with the headers of browsers, storage in files. */
const STUBS = {
  'got-scraping': `export class TimeoutError extends Error {} export class HTTPError extends Error {}`,
  '@crawlee/memory-storage': `export class MemoryStorage {}`,
  'csv-stringify/sync': '',
};

const replacements = {
  name: 'replacements',
  setup({ onLoad, onResolve, resolve }) {
    onLoad({ filter: /systemInfoV2[\\/]ps-tree\.js$/ }, () => ({ contents: PS, loader: 'js' }));
    for (const [name, contents] of Object.entries(STUBS)) {
      onResolve({ filter: new RegExp(`^${name}$`) }, () => ({ path: name, namespace: 'stub' }));
      onLoad({ filter: new RegExp(`^${name}$`), namespace: 'stub' }, () => ({ contents, loader: 'js' }));
    }
    // The same copy as Crawlee's: it would else be in the bundle twice.
    onResolve({ filter: /^cheerio$/ }, ({ kind, resolveDir }) =>
      kind === 'require-call' ? undefined : resolve('cheerio', { kind: 'require-call', resolveDir }),
    );
  },
};

mkdirSync(to, { recursive: true });
const { metafile } = await build({
  entryPoints: [join(from, 'main.ts')],
  outfile: join(to, 'crawler.mjs'),
  tsconfig: join(from, 'tsconfig.json'),
  bundle: true,
  minify: true,
  format: 'esm',
  platform: 'node',
  target: ['node20'],
  legalComments: 'none',
  logLevel: 'error',
  metafile: true,
  plugins: [replacements],
  banner: {
    js: `import{createRequire as __cr}from'node:module';import{fileURLToPath as __fp}from'node:url';import{dirname as __dn}from'node:path';const require=__cr(import.meta.url),__filename=__fp(import.meta.url),__dirname=__dn(__filename);`,
  },
});
if (process.argv.includes('--analyze')) console.error(await (await import('esbuild')).analyzeMetafile(metafile));
