// Bundles the program of a task's process into one file, replacing the one that imports a dozen others, each of which costs about a
// millisecond per process start. The others stay for modules that import them on this side of the pipe.
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const folder = join(root, 'build', 'src', 'runners', 'task-module', 'child');

// Next to main.js, not in its place: the next build would find the old bundle where the compiler has nothing new to write.
await build({
  entryPoints: [join(folder, 'main.js')],
  outfile: join(folder, 'task-process.js'),
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
});
