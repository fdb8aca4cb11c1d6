// Compiles src, test and bench into build/, and removes what was compiled from sources that are gone.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

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

const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
const { status } = spawnSync(process.execPath, [tsc, '-p', root], { stdio: 'inherit' });
if (status === 0)
  await Promise.all([import('./dashboard.mjs'), import('./crawler.mjs'), import('./task-child.mjs'), import('./command-line.mjs')]);
// The stamp that scripts/setup.mjs compares with the sources: only a build without errors counts.
if (status === 0) writeFileSync(join(build, '.built'), '');
process.exitCode = status ?? 1;
