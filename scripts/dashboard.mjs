// Bundles src/dashboard into assets/dashboard: one script, one style sheet, no external URL.
import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const from = join(root, 'src', 'dashboard');
const to = join(root, 'assets', 'dashboard');

rmSync(to, { recursive: true, force: true });
mkdirSync(to, { recursive: true });
await build({
  entryPoints: [join(from, 'main.tsx'), join(from, 'style.css')],
  tsconfig: join(from, 'tsconfig.json'),
  outdir: to,
  bundle: true,
  minify: true,
  format: 'esm',
  target: ['es2022'],
  legalComments: 'none',
  logLevel: 'error',
});
for (const file of ['index.html', 'icon.svg']) copyFileSync(join(from, file), join(to, file));
