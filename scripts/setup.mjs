// Makes a fresh clone ready: installs the dependencies and builds, each only when something is missing or older than its
// sources. Runs before `demo`, `test`, `bench` … so that nothing needs to be typed before them. Node built-ins only.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const at = (...parts) => join(root, ...parts);
const changedAt = (path) => (existsSync(path) ? statSync(path).mtimeMs : 0);

function newest(folder) {
  let latest = 0;
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true }))
    if (entry.isFile()) latest = Math.max(latest, changedAt(join(entry.parentPath ?? entry.path, entry.name)));
  return latest;
}

function run(what, command, args) {
  console.error(`setup: ${what}`);
  // The tools' own output goes to stderr: stdout belongs to the script that comes after.
  const shell = process.platform === 'win32' && command === 'npm';
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], shell });
  if (error) console.error(`setup: ${command} could not be started: ${error.message}`);
  if (status !== 0) {
    console.error(`setup: failed while ${what}`);
    process.exit(status || 1);
  }
}

export function setUp({ installOnly = false } = {}) {
  if (!existsSync(at('src'))) return; // an installed package: built already
  const installedAt = changedAt(at('node_modules', '.package-lock.json'));
  if (installedAt === 0 || installedAt < changedAt(at('package-lock.json')))
    run('installing dependencies', 'npm', ['ci', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error']);
  if (installOnly) return;
  const sourcesAt = Math.max(newest(at('src')), newest(at('test')), newest(at('bench')), changedAt(at('tsconfig.json')));
  if (changedAt(at('build', '.built')) <= sourcesAt) run('building', process.execPath, [at('scripts', 'build.mjs')]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) setUp({ installOnly: process.argv.includes('--install-only') });
