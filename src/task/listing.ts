import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { PeerworkError } from '../errors.js';
import { childBounds } from '../job/child-bounds.js';
import { LOCAL_JSON, parseJson } from '../kit/json.js';
import { fileError, isMissing, systemCode } from '../kit/system-error.js';
import { checkAssetPaths } from './asset-path.js';
import { readTaskModuleSettings, SETTINGS_NAME } from './task-settings.js';

/** What belongs to a task, determined before any file is read. */
export interface TaskListing {
  readonly assets: readonly AssetFile[];
  /** The path of the asset that is the entry. */
  readonly entry: string;
  /** The kind of runner that the task is for. */
  readonly runner: string;
  /** The tunnel of the Master that its jobs may use. */
  readonly tunnel?: string;
  /** Where the children of its jobs may go. */
  readonly children?: v.InferOutput<typeof childBounds>;
  /** Text of the package.json; null if there is none. */
  readonly packageJson: string | null;
  /** Text of the lockfile; null if there is none. */
  readonly lock: string | null;
  /** Folders in which a change may affect the task. */
  readonly watch: readonly string[];
}

export interface AssetFile {
  /** Path in the manifest. */
  readonly path: string;
  /** Absolute path on this disk. */
  readonly file: string;
}

/** Entries of the runner `task-module`. A task.json next to one may hold more settings; on its own, it names another runner. */
const moduleNames = ['task.js', 'task.mjs', 'task.cjs'];
export const TASK_MODULE = 'task-module';

/** Never part of a task: files with secrets, what the worker creates itself, and leftovers of editors and systems. */
const ignored = [
  /^\.env/,
  /^\.npmrc$/,
  /^\.yarnrc/,
  /^\.(?:git|hg|svn)$/,
  /^node_modules$/,
  /^(?:\.DS_Store|Thumbs\.db|desktop\.ini)$/,
  /^\.#/,
  /~$/,
  /^\..*\.sw[a-z]$/,
];

/**
 * Lists the files of a task folder. Rejects with `task-folder-missing`, `task-entry-missing` or `asset-path-unsafe` (also for symbolic
 * links and sockets).
 */
export async function listFolder(folder: string): Promise<TaskListing> {
  const found = await stat(folder).catch((cause: unknown) => {
    if (systemCode(cause) === 'ENOENT') throw new PeerworkError('task-folder-missing', folder, { cause });
    throw fileError(cause, 'task-folder-missing', folder);
  });
  if (!found.isDirectory()) throw new PeerworkError('task-folder-missing', `${folder} is not a folder`);
  const assets: AssetFile[] = [];
  const watch: string[] = [];
  await walk(folder, '', assets, watch);
  assets.sort((a, b) => (a.path < b.path ? -1 : 1));
  checkAssetPaths(assets.map(({ path }) => path));
  const has = (name: string) => assets.some(({ path }) => path === name);
  const code = moduleNames.find(has);
  const settings = has(SETTINGS_NAME) ? await readSettings(join(folder, SETTINGS_NAME), code) : { runner: TASK_MODULE };
  const entry = settings.runner === TASK_MODULE ? code : SETTINGS_NAME;
  if (entry === undefined) throw new PeerworkError('task-entry-missing', folder);
  const lockName = ['npm-shrinkwrap.json', 'package-lock.json'].find(has); // npm's own order
  return {
    assets,
    entry,
    ...settings,
    packageJson: has('package.json') ? await readFile(join(folder, 'package.json'), 'utf8') : null,
    lock: lockName === undefined ? null : await readFile(join(folder, lockName), 'utf8'),
    watch,
  };
}

/** Reads the settings of a task.json that concern the Master and all runners. Rejects with `task-settings-invalid`. */
async function readSettings(file: string, code: string | undefined): Promise<Pick<TaskListing, 'runner' | 'tunnel' | 'children'>> {
  const bytes = await readFile(file);
  let settings: { readonly runner?: unknown; readonly tunnel?: unknown; readonly children?: unknown } | null;
  try {
    settings = parseJson(bytes, LOCAL_JSON) as typeof settings;
  } catch (cause) {
    throw new PeerworkError('task-settings-invalid', `${file}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  const { runner = code === undefined ? undefined : TASK_MODULE, tunnel, children } = settings ?? {};
  if (runner === TASK_MODULE) readTaskModuleSettings(bytes);
  if (!isName(runner)) throw new PeerworkError('task-settings-invalid', `${file} names no runner`);
  if (tunnel !== undefined && !isName(tunnel)) throw new PeerworkError('task-settings-invalid', `${file}: tunnel is not a name`);
  if (children !== undefined && !v.is(childBounds, children))
    throw new PeerworkError('task-settings-invalid', `${file}: children is not {"channels": […], "workgroups": […]}`);
  return { runner, ...(tunnel !== undefined && { tunnel }), ...(children !== undefined && { children }) };
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && /^[a-z][a-z\d-]{0,39}$/.test(value);
}

async function walk(folder: string, prefix: string, assets: AssetFile[], watch: string[]): Promise<void> {
  watch.push(folder);
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    if (prefix !== '' && isMissing(error)) return []; // removed since its parent was read: the watcher will report it
    throw error;
  });
  for (const entry of entries) {
    if (ignored.some((pattern) => pattern.test(entry.name))) continue;
    const path = prefix + entry.name.normalize('NFC'); // older macOS disks store NFD
    const file = join(folder, entry.name);
    if (entry.isDirectory()) await walk(file, `${path}/`, assets, watch);
    else if (entry.isFile()) assets.push({ path, file });
    else throw new PeerworkError('asset-path-unsafe', `${path}: it is ${entry.isSymbolicLink() ? 'a link' : 'not an ordinary file'}`);
  }
}
