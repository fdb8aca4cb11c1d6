import { existsSync } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { basename, dirname, join, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { PeerworkError } from '../errors.js';
import { LOCAL_JSON, parseJson } from './json.js';
import { type PackageSetName, packageSets } from './package-sets.js';

/** Package (or module in it) → the shape of its import. */
export interface OptionalPackages {
  'bittorrent-dht': { readonly Client: new (options: object) => unknown };
  'bittorrent-tracker/server.js': typeof import('bittorrent-tracker/server.js');
  bullmq: typeof import('bullmq');
  fastify: typeof import('fastify');
  '@fastify/rate-limit': typeof import('@fastify/rate-limit');
  '@fastify/swagger': typeof import('@fastify/swagger');
  '@fastify/swagger-ui': typeof import('@fastify/swagger-ui');
  ioredis: typeof import('ioredis');
  libsql: { readonly default: typeof import('libsql') };
  pg: typeof import('pg');
  'socket.io': typeof import('socket.io');
}

/** A package set that is not installed, and what would be. */
export interface MissingSet {
  readonly name: PackageSetName;
  /** `name@version` of each package, in the tested version. */
  readonly specs: readonly string[];
  readonly megabytes: number;
  /** Folder with the package.json and package-lock.json to install from. */
  readonly recipe: string;
  /** Its folder name in each of `packageFolders()`; differs for every combination of versions. */
  readonly folder: string;
}

/** Installs the missing sets, or rejects. */
export type InstallMissing = (missing: readonly MissingSet[]) => Promise<void>;

/** The folder of our own package.json. */
const ownFolder = fileURLToPath(new URL('../../..', import.meta.url)).replace(/[\\/]$/, '');
const recipes = fileURLToPath(new URL('../../packages', import.meta.url));
/** A module that imports from where it is located. Written into each package folder that we install. */
const LOADER = 'load.mjs';

let installMissing: InstallMissing = async (missing) => {
  throw packageMissing(missing);
};

/** Replaces the handler for missing packages, which by default rejects with `package-missing`: a command line may ask and install. */
export function whenMissing(install: InstallMissing): void {
  installMissing = install;
}

/**
 * Imports a package that is not installed with peerwork: the surrounding project's copy if its version fits, otherwise the one that
 * peerwork installed itself. Rejects with `package-missing`.
 */
export async function optionalPackage<Name extends keyof OptionalPackages>(name: Name): Promise<OptionalPackages[Name]> {
  let load = await findPackage(packageOf(name));
  if (load === undefined) {
    await requirePackages(setOf(packageOf(name)));
    load = await findPackage(packageOf(name));
  }
  if (load === undefined) throw packageMissing([await missingSet(setOf(packageOf(name)))]);
  return (await load(name)) as OptionalPackages[Name];
}

/**
 * Makes sure that these sets are installed, all at once, so that a person is asked a single time before work begins. Rejects like
 * `optionalPackage`.
 */
export async function requirePackages(...sets: readonly PackageSetName[]): Promise<void> {
  const missing: MissingSet[] = [];
  for (const set of new Set(sets)) {
    const found = await Promise.all(packageSets[set].packages.map((name) => findPackage(name)));
    if (found.includes(undefined)) missing.push(await missingSet(set));
  }
  if (missing.length > 0) await installMissing(missing);
}

/** Returns where peerwork keeps its own packages: next to itself if npm installed it, and in the home folder. */
export function packageFolders(): readonly string[] {
  const above = dirname(ownFolder);
  const adjacent = basename(above) === 'node_modules' ? [join(above, '.peerwork-packages')] : [];
  return [...adjacent, homeFolder()];
}

function homeFolder(): string {
  return join(homedir(), '.peerwork', 'packages');
}

/** Returns the `package-missing` error, with the command that installs these sets. */
export function packageMissing(missing: readonly MissingSet[]): PeerworkError {
  const what = missing.map(({ specs, megabytes }) => `${specs[0]} (${megabytes} MB)`).join(', ');
  const specs = missing.flatMap((set) => set.specs).join(' ');
  return new PeerworkError('package-missing', `${what}. The command: npm install --prefix ${quoted(prefixFolder())} ${specs}`);
}

/** Source of the module that imports packages from the folder it is in. */
export const loaderText = 'export const load = (name) => import(name);\n';

/** Returns the project that depends on peerwork, otherwise a folder of ours that requires no extra permissions. */
function prefixFolder(): string {
  const above = dirname(ownFolder);
  const isProject = basename(above) === 'node_modules' && existsSync(join(dirname(above), 'package.json'));
  return isProject && !ownFolder.split(sep).includes('_npx') ? dirname(above) : homeFolder();
}

function quoted(path: string): string {
  if (/^[\w./:\\@+-]+$/.test(path)) return path;
  return process.platform === 'win32' ? `"${path}"` : `'${path.replaceAll("'", `'\\''`)}'`;
}

type Load = (name: string) => Promise<unknown>;

const setNames = Object.keys(packageSets) as readonly PackageSetName[];

/** Returns the sets that include this package. */
function setsOf(owner: string): readonly PackageSetName[] {
  return setNames.filter((set) => (packageSets[set].packages as readonly string[]).includes(owner));
}

/** Returns the set named after the package, otherwise the first that includes it. */
function setOf(owner: string): PackageSetName {
  const sets = setsOf(owner);
  return sets.find((set) => set === owner) ?? (sets[0] as PackageSetName);
}

/** Returns `bittorrent-tracker` for `bittorrent-tracker/server.js`. */
function packageOf(name: string): string {
  return name
    .split('/')
    .slice(0, name.startsWith('@') ? 2 : 1)
    .join('/');
}

async function findPackage(owner: string): Promise<Load | undefined> {
  const recipes = (await Promise.all(setsOf(owner).map(recipeOf))).filter((recipe) => recipe !== undefined);
  const range = recipes[0]?.ranges[owner];
  for (const folder of createRequire(import.meta.url).resolve.paths(owner) ?? []) {
    const version = await versionIn(join(folder, owner));
    if (version === undefined) continue;
    // Node would resolve this one and look no further up.
    if (await fits(version, range)) return (name) => import(name);
    break;
  }
  for (const base of packageFolders()) {
    for (const recipe of recipes) {
      const folder = join(base, recipe.folder);
      if ((await isTrusted(folder)) && (await versionIn(join(folder, 'node_modules', owner))) !== undefined) return loaderOf(folder);
    }
  }
  // Packages installed with the command that `packageMissing` names.
  const manual = homeFolder();
  const version = await versionIn(join(manual, 'node_modules', owner));
  if (version === undefined || !(await fits(version, range)) || !(await isTrusted(manual))) return undefined;
  await writeFile(join(manual, LOADER), loaderText, { flag: 'wx' }).catch(() => {});
  return loaderOf(manual);
}

function loaderOf(folder: string): Load {
  return async (name) => ((await import(pathToFileURL(join(folder, LOADER)).href)) as { load: Load }).load(name);
}

/** Code is not loaded from a folder that another user could have written to. */
async function isTrusted(folder: string): Promise<boolean> {
  try {
    const { uid, mode } = await stat(folder);
    return process.getuid === undefined || ((uid === process.getuid() || uid === 0) && (mode & 0o002) === 0);
  } catch {
    return false;
  }
}

async function fits(version: string, range: string | undefined): Promise<boolean> {
  if (range === undefined) return true;
  const { default: satisfies } = await import('semver/functions/satisfies.js');
  return satisfies(version, range);
}

async function versionIn(folder: string): Promise<string | undefined> {
  return (await readManifest(folder))?.version;
}

interface Manifest {
  readonly version?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerwork?: { readonly specs: readonly string[]; readonly folder: string };
}

async function readManifest(folder: string): Promise<Manifest | undefined> {
  try {
    return parseJson(await readFile(join(folder, 'package.json'), 'utf8'), LOCAL_JSON) as Manifest;
  } catch {
    return undefined;
  }
}

interface Recipe {
  readonly path: string;
  /** Accepted version range per package. */
  readonly ranges: Readonly<Record<string, string>>;
  readonly specs: readonly string[];
  readonly folder: string;
}

/** Undefined if the build did not write the recipes. */
async function recipeOf(set: PackageSetName): Promise<Recipe | undefined> {
  const path = join(recipes, set);
  const { dependencies = {}, peerwork } = (await readManifest(path)) ?? {};
  if (peerwork === undefined) return undefined;
  return { path, ranges: dependencies, specs: peerwork.specs, folder: `${peerwork.folder}-${process.platform}-${process.arch}` };
}

async function missingSet(name: PackageSetName): Promise<MissingSet> {
  const recipe = await recipeOf(name);
  const { megabytes, packages } = packageSets[name];
  return { name, specs: recipe?.specs ?? packages, megabytes, recipe: recipe?.path ?? '', folder: recipe?.folder ?? '' };
}
