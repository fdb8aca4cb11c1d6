// Runs the attack suite (test/attacks), and prints its results as a table: attack × tier. docs/isolation.md has the documented
// ones.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const table = join(root, 'build', 'attack-table.md');
rmSync(table, { force: true });
const { status } = spawnSync(process.execPath, [join(root, 'scripts', 'test.mjs'), 'test/attacks/'], { stdio: 'inherit' });
if (existsSync(table)) console.log(`\n${readFileSync(table, 'utf8')}\nWhat each attack said: build/attack-notes.txt`);
process.exitCode = status ?? 1;
