// Puts the program of a task's process into one file, in place of the one that imports a dozen others: each costs every start of
// a process about a millisecond. The others stay, for who imports them on this side of the pipe.
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const folder = join(root, 'build', 'src', 'runners', 'task-module', 'child');

// Beside main.js: in its place the next build would find the old bundle, where the compiler has nothing new to write.
await build({
  entryPoints: [join(folder, 'main.js')],
  outfile: join(folder, 'task-process.js'),
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
});
