// Puts the program of a task's process into one file, in place of the one that imports a dozen others: each costs every start of
// a process about a millisecond. The others stay, for who imports them on this side of the pipe.
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const main = join(root, 'build', 'src', 'runners', 'task-module', 'child', 'main.js');

await build({ entryPoints: [main], outfile: main, allowOverwrite: true, bundle: true, platform: 'node', format: 'esm', target: 'node20' });
