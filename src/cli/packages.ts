import { randomUUID } from 'node:crypto';
import { access, constants, copyFile, mkdir, readdir, rename, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { PeerworkError } from '../errors.js';
import { makeFolder } from '../kit/make-folder.js';
import { loaderText, type MissingSet, packageFolders, packageMissing, whenMissing } from '../kit/optional-package.js';
import { removeTree } from '../kit/remove-tree.js';
import { runTool } from '../kit/run-tool.js';
import { unlessLeft } from '../kit/terminal.js';
import { optionSpec } from './option-table.js';
import { attributeOf, dotenvFile, readDotenv, resolveOption } from './options.js';

const INSTALL_MS = 15 * 60_000;
/** npm's own retries take a minute and a half, too long for a user who is offline. */
const FETCH_LIMITS = ['--fetch-retries=1', '--fetch-retry-mintimeout=1000', '--fetch-retry-maxtimeout=5000'];
const QUIET = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
const OFFLINE = /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT|ENOTCACHED)\b/;
const UNFINISHED = '.unfinished-';

let canAsk = true;

/** Stops asking, because from now on a status on the terminal would overwrite a question. */
export function stopAsking(): void {
  canAsk = false;
}

/**
 * Sets up how packages that are not installed with peerwork are handled: on a terminal the user is asked, and they are installed
 * without asking if the owner has allowed that, or if an earlier peerwork had installed another version. Otherwise the command ends
 * with `package-missing`.
 */
export function offerPackages(command: Command): void {
  canAsk = true;
  whenMissing(async (missing) => {
    if (!(await mayInstall(command, missing))) throw packageMissing(missing);
    for (const set of missing) await install(set);
  });
}

async function mayInstall(command: Command, missing: readonly MissingSet[]): Promise<boolean> {
  if (missing.some(({ recipe }) => recipe === '')) return false;
  if (await isAllowed(command)) return true;
  const renewed = await Promise.all(missing.map((set) => Promise.all(packageFolders().map((base) => otherVersionsOf(set, base)))));
  if (renewed.every((found) => found.flat().length > 0)) return true;
  if (!canAsk || process.stdin.isTTY !== true || process.stderr.isTTY !== true) return false;
  const { default: inquirer } = await import('inquirer');
  const prompt = inquirer.createPromptModule({ output: process.stderr });
  const message = `\`peerwork ${command.name()}\` needs ${describe(missing)}. Install ${missing.length > 1 ? 'them' : 'it'} now?`;
  const answer = await unlessLeft(() => prompt<{ yes: boolean }>([{ type: 'confirm', name: 'yes', message, default: true }]));
  return answer?.yes === true;
}

/** Returns, for example, `the package bullmq 6.7.0 (14 MB)`. */
function describe(missing: readonly MissingSet[]): string {
  const each = missing.map(({ specs, megabytes }) => `${specs[0]?.replace(/(.)@/, '$1 ')} (${megabytes} MB)`);
  return `the package${each.length > 1 ? 's' : ''} ${each.join(' and ')}`;
}

async function isAllowed(command: Command): Promise<boolean> {
  const flag: unknown = command.opts()[attributeOf('installMissing')];
  const flags = typeof flag === 'boolean' ? { installMissing: flag } : {};
  const sources = { flags, env: process.env, dotenv: await readDotenv(dotenvFile(command)) };
  return resolveOption('installMissing', optionSpec('installMissing'), sources) === true;
}

/**
 * Installs a set. Rejects with `registry-unreachable` or `package-uninstallable`. Of two processes that install the same set
 * concurrently, the first to finish wins.
 */
async function install(set: MissingSet): Promise<void> {
  const base = await writableFolder();
  const [folder, unfinished] = [join(base, set.folder), join(base, `${UNFINISHED}${randomUUID()}`)];
  const specs = set.specs.join(' ');
  process.stderr.write(`peerwork: installing ${specs} in ${base} …\n`);
  await removeAbandoned(base);
  await mkdir(unfinished, { mode: 0o755 });
  try {
    for (const file of ['package.json', 'package-lock.json']) await copyFile(join(set.recipe, file), join(unfinished, file));
    await writeFile(join(unfinished, 'load.mjs'), loaderText);
    const { code, stdout, stderr } = await runTool('npm', ['ci', ...QUIET, ...FETCH_LIMITS], { cwd: unfinished, timeoutMs: INSTALL_MS });
    if (code !== 0) throw refusal(specs, stderr || stdout);
    await rename(unfinished, folder).catch((thrown: NodeJS.ErrnoException) => {
      if (thrown.code !== 'ENOTEMPTY' && thrown.code !== 'EEXIST' && thrown.code !== 'EPERM') throw thrown;
    });
  } finally {
    await removeTree(unfinished);
  }
  // The previous version may be in use by another process, which loads parts of it on demand.
  for (const older of (await otherVersionsOf(set, base)).slice(1)) await removeTree(join(base, older));
}

function refusal(specs: string, said: string): PeerworkError {
  const lines = said
    .split('\n')
    .map((line) => line.replace(/^npm (?:error|ERR!) ?/, '').trim())
    .filter((line) => line !== '' && !/A complete log|^code |^errno |^syscall /.test(line));
  return new PeerworkError(
    OFFLINE.test(said) ? 'registry-unreachable' : 'package-uninstallable',
    `${specs}: ${lines.slice(0, 3).join(' ')}`,
  );
}

/** Returns the folder next to peerwork if it is writable, otherwise the one in the home folder. */
async function writableFolder(): Promise<string> {
  const folders = packageFolders();
  for (const [place, folder] of folders.entries()) {
    try {
      // Next to peerwork, the parent folder belongs to npm.
      if (place < folders.length - 1) await access(dirname(folder), constants.W_OK);
      makeFolder(folder, 0o755);
      await access(folder, constants.W_OK);
      return folder;
    } catch (thrown) {
      if (place === folders.length - 1) throw thrown;
    }
  }
  throw new PeerworkError('package-uninstallable', 'no folder for it');
}

/** Returns other versions of a set in this folder, the newest first. */
async function otherVersionsOf(set: MissingSet, base: string): Promise<string[]> {
  const found = await readdir(base).catch(() => []);
  const [start, end] = [
    `${set.folder.slice(0, set.folder.indexOf('@', 1))}@`,
    set.folder.slice(set.folder.search(/-[a-z0-9]+-[a-z0-9]+$/)),
  ];
  const others = found.filter((name) => name !== set.folder && name.startsWith(start) && name.endsWith(end));
  const ages = await Promise.all(others.map(async (name) => ({ name, at: (await stat(join(base, name))).mtimeMs })));
  return ages.sort((a, b) => b.at - a.at).map(({ name }) => name);
}

/** Removes what killed processes have left. */
async function removeAbandoned(base: string): Promise<void> {
  for (const name of await readdir(base)) {
    const at = name.startsWith(UNFINISHED) ? await stat(join(base, name)).catch(() => undefined) : undefined;
    if (at !== undefined && at.mtimeMs < Date.now() - 2 * INSTALL_MS) await removeTree(join(base, name));
  }
}
