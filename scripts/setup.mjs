// Makes a fresh clone ready: installs the dependencies and builds, each only if something is missing or older than its sources.
// Runs before `demo`, `test`, `bench` and others, so that no other command is needed first. Node built-ins only.
//
// A clone that is only used, by `node worker.js`, gets a quarter of that: what Workers and Masters and their build need, without
// type check and tests. The first `npm test` or `npm run build` installs and builds the rest.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
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

function run(what, command, args, cwd = root) {
  console.error(`setup: ${what}`);
  // Output of the tools goes to stderr: stdout belongs to the script that runs next.
  const shell = process.platform === 'win32' && command === 'npm';
  const { status, error } = spawnSync(command, args, { cwd, stdio: ['ignore', 2, 2], shell });
  if (error) console.error(`setup: ${command} could not be started: ${error.message}`);
  return status === 0;
}

function orEnd(succeeded, what) {
  if (succeeded) return;
  console.error(`setup: failed while ${what}`);
  process.exit(1);
}

const ci = ['ci', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error'];
/** Packages imported by the builds of command line, dashboard and crawler. */
const BUILD_PACKAGES = ['esbuild', 'preact', 'cheerio', 'tldts', 'robots-parser'];
/** Of the optional packages, these take more space than all others together; a Worker that serves a Lightning asks for them. */
const OF_OPENFN = /^@openfn\//;
const installed = at('node_modules', '.package-lock.json');
/** Exists if only that part of the packages is installed. */
const partMark = at('node_modules', '.for-use');
const stamp = at('build', '.built');
/** Written by scripts/build.mjs. */
export const STAMP_FOR_USE = 'for use';

/** Whether the installed packages match the lockfile. */
const isFresh = () => existsSync(installed) && changedAt(installed) >= changedAt(at('package-lock.json'));

function install() {
  if (isFresh() && !existsSync(partMark)) return;
  orEnd(run('installing dependencies', 'npm', ci), 'installing dependencies');
}

async function installPart() {
  if (isFresh()) return;
  const { lockPart, manifest } = await import('./lock-part.mjs');
  const optional = Object.keys(manifest.peerDependencies).filter((name) => !OF_OPENFN.test(name));
  const names = [...Object.keys(manifest.dependencies), ...optional, ...BUILD_PACKAGES];
  const { manifest: part, lock } = lockPart(names, { name: 'peerwork-clone', private: true });
  // On the same file system: an interrupted set-up leaves nothing half installed where Node would find it.
  const folder = mkdtempSync(at('.setup-'));
  writeFileSync(join(folder, 'package.json'), JSON.stringify(part));
  writeFileSync(join(folder, 'package-lock.json'), JSON.stringify(lock));
  if (existsSync(at('.npmrc'))) copyFileSync(at('.npmrc'), join(folder, '.npmrc'));
  const succeeded = run('installing dependencies', 'npm', ci, folder);
  if (succeeded) {
    writeFileSync(join(folder, 'node_modules', '.for-use'), '');
    rmSync(at('node_modules'), { recursive: true, force: true });
    renameSync(join(folder, 'node_modules'), at('node_modules'));
  }
  rmSync(folder, { recursive: true, force: true });
  orEnd(succeeded, 'installing dependencies');
}

/** `forUse`: installs and builds only what running requires, unless everything exists already. */
export async function setUp({ installOnly = false, forUse = false } = {}) {
  if (!existsSync(at('src'))) return; // an installed package comes built
  const partly = forUse && (!existsSync(installed) || existsSync(partMark));
  if (partly) await installPart();
  else install();
  if (installOnly) return;
  const rooms = partly ? ['src'] : ['src', 'test', 'bench'];
  const sourcesAt = Math.max(...rooms.map((room) => newest(at(room))), changedAt(at('tsconfig.json')));
  if (changedAt(stamp) > sourcesAt && (partly || readFileSync(stamp, 'utf8') !== STAMP_FOR_USE)) return;
  orEnd(run('building', process.execPath, [at('scripts', 'build.mjs'), ...(partly ? ['--for-use'] : [])]), 'building');
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  await setUp({ installOnly: process.argv.includes('--install-only'), forUse: process.argv.includes('--for-use') });
