// Compiles src, test and bench into build/, and removes output whose source is gone. With `--for-use` it compiles src only, without
// the type check: the compiler and the types are most of what a clone installs.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { STAMP_FOR_USE } from './setup.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const build = join(root, 'build');

for (const room of ['src', 'test', 'bench']) {
  const folder = join(build, room);
  if (!existsSync(folder)) continue;
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath ?? entry.path, entry.name);
    const source = path.replace(/(\.d\.ts|\.js\.map|\.js)$/, '.ts');
    if (entry.isFile() && source !== path && !existsSync(join(root, relative(build, source)))) rmSync(path);
  }
}

const forUse = process.argv.includes('--for-use');

function compileAll() {
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  return spawnSync(process.execPath, [tsc, '-p', root], { stdio: 'inherit' }).status ?? 1;
}

async function compileForUse() {
  const esbuild = await import('esbuild');
  const src = join(root, 'src');
  const isOwn = (path) => /\.c?ts$/.test(path) && !/\.d\.ts$/.test(path) && !/^(dashboard|crawler)[\\/]/.test(relative(src, path));
  const files = readdirSync(src, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .filter(isOwn);
  const shared = { outdir: join(build, 'src'), outbase: src, platform: 'node', target: 'node20', sourcemap: true, logLevel: 'error' };
  const compile = (extension, format, out) =>
    esbuild.build({ ...shared, format, outExtension: { '.js': out }, entryPoints: files.filter((path) => path.endsWith(extension)) });
  await Promise.all([compile('.ts', 'esm', '.js'), compile('.cts', 'cjs', '.cjs')]);
  // Forces the next build to be a complete one.
  rmSync(join(build, '.tsbuildinfo'), { force: true });
  return 0;
}

const status = forUse ? await compileForUse().catch(() => 1) : compileAll();
if (status === 0)
  await Promise.all([
    import('./dashboard.mjs'),
    import('./crawler.mjs'),
    import('./task-child.mjs'),
    import('./command-line.mjs'),
    import('./packages.mjs'),
  ]);
if (status === 0 && !forUse) await import('./shipped.mjs');
// The stamp that scripts/setup.mjs compares with the sources: only a build without errors counts.
if (status === 0) writeFileSync(join(build, '.built'), forUse ? STAMP_FOR_USE : '');
process.exitCode = status;
