// Bundles src/crawler into assets/crawler: one file that needs only Node, so that the image is built without npm.
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const from = join(root, 'src', 'crawler');
const to = join(root, 'assets', 'crawler');

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
  banner: {
    js: `import{createRequire as __cr}from'node:module';import{fileURLToPath as __fp}from'node:url';import{dirname as __dn}from'node:path';const require=__cr(import.meta.url),__filename=__fp(import.meta.url),__dirname=__dn(__filename);`,
  },
});
if (process.argv.includes('--analyze')) console.error(await (await import('esbuild')).analyzeMetafile(metafile));
