import { stat } from 'node:fs/promises';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import * as v from 'valibot';
import { PeerworkError } from '../errors.js';
import { type ChildBounds, childBounds } from '../job/child-bounds.js';
import { shown } from '../kit/shown.js';
import { checkAssetPaths } from './asset-path.js';
import { TASK_MODULE, type TaskListing } from './listing.js';

/** A task in the form of queue-xec. */
export interface ExecAssets {
  /** npm packages, optionally with a range: `big.js`, `big.js@^7`. Default: none. */
  readonly dependencies?: readonly string[] | null;
  /** At most one file is named `task.js`. If none is, `/src/task.js` becomes `/workplace/task.js`, as in queue-xec. */
  readonly files: readonly ExecAsset[];
  /** Where the children of its jobs may go in addition to their own channel. */
  readonly children?: ChildBounds;
}

export interface ExecAsset {
  /** Path on the Master: appended to the working directory as in queue-xec (`/task.js`), or an ordinary path. */
  readonly masterPath: string;
  readonly name: string;
  /** Path on the worker, such as `/workplace/task.js`. Files keep their relative positions. */
  readonly workerPath: string;
}

const ENTRY_NAME = 'task.js';
const DEFAULT_ENTRY: ExecAsset = { masterPath: '/src/task.js', name: ENTRY_NAME, workerPath: '/workplace/task.js' };
const COMMON_ROOT = 'workplace/';
const dependencyPattern = /^((?:@[^/@]+\/)?[^/@]+)(?:@(.+))?$/s;

/**
 * Lists the files of a task. Rejects with `task-entry-missing`, `task-folder-missing` (a file cannot be read), `asset-path-unsafe` or
 * `dependencies-refused`.
 */
export async function listExecAssets(execAssets: ExecAssets, cwd: string): Promise<TaskListing> {
  const entries = execAssets.files.filter(({ name }) => name === ENTRY_NAME);
  if (entries.length > 1) throw new PeerworkError('task-entry-missing', `${entries.length} files are named ${ENTRY_NAME}, one must be`);
  const entry = entries[0] ?? DEFAULT_ENTRY;
  const files = entries.length === 1 ? execAssets.files : [...execAssets.files, DEFAULT_ENTRY];

  const relative = files.map(({ workerPath }) => workerPath.replace(/^\.?\//, ''));
  const rooted = relative.every((path) => path.startsWith(COMMON_ROOT));
  const paths = rooted ? relative.map((path) => path.slice(COMMON_ROOT.length)) : relative;
  checkAssetPaths(paths);
  const assets = await Promise.all(files.map(async ({ masterPath }, i) => ({ path: paths[i] ?? '', file: await find(masterPath, cwd) })));
  const missing = assets.findIndex(({ file }) => file === undefined);
  if (missing !== -1) {
    const asset = files[missing] as ExecAsset;
    throw new PeerworkError(asset === entry ? 'task-entry-missing' : 'task-folder-missing', `there is no ${asset.masterPath}`);
  }
  const found = assets.map(({ path, file }) => ({ path, file: file ?? '' }));
  return {
    assets: found,
    entry: paths[files.indexOf(entry)] ?? '',
    runner: TASK_MODULE,
    ...(execAssets.children !== undefined && { children: checkedChildren(execAssets.children) }),
    packageJson: dependencyText(execAssets.dependencies ?? []),
    lock: null,
    watch: [...new Set(found.map(({ file }) => dirname(file)))],
  };
}

function checkedChildren(children: unknown): v.InferOutput<typeof childBounds> {
  if (!v.is(childBounds, children)) throw new PeerworkError('manifest-invalid', 'children is not { channels: […], workgroups: […] }');
  return children;
}

async function find(masterPath: string, cwd: string): Promise<string | undefined> {
  const candidates = isAbsolute(masterPath) ? [join(cwd, masterPath), masterPath] : [resolve(cwd, masterPath)];
  for (const candidate of candidates) {
    const found = await stat(candidate).catch(() => undefined);
    if (found?.isFile()) return candidate;
  }
  return undefined;
}

function dependencyText(dependencies: readonly string[]): string | null {
  if (dependencies.length === 0) return null;
  const specs: [string, string][] = [];
  for (const dependency of dependencies) {
    const match = dependencyPattern.exec(dependency);
    // The rules for names and ranges are applied when the package.json is read.
    if (match === null) throw new PeerworkError('dependencies-refused', `not the name of a package: ${shown(dependency)}`);
    specs.push([match[1] ?? '', match[2] ?? '*']);
  }
  return JSON.stringify({ dependencies: Object.fromEntries(specs) });
}
