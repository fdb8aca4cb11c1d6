import { existsSync } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { basename, dirname, join, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { PeerworkError } from '../errors.js';
import { LOCAL_JSON, parseJson } from './json.js';
import { type PackageSetName, packageSets } from './package-sets.js';

/** What an import of each brings. */
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

/** A set that is not installed, and what would be. */
export interface MissingSet {
  readonly name: PackageSetName;
  /** `name@version` of each package, as it was tested. */
  readonly specs: readonly string[];
  readonly megabytes: number;
  /** Holds the package.json and package-lock.json to install it from. */
  readonly recipe: string;
  /** Its folder in each of `packageFolders()`: another one for another version of anything in it. */
  readonly folder: string;
}

/** Installs what is missing, or rejects. */
export type InstallMissing = (missing: readonly MissingSet[]) => Promise<void>;

/** The folder that holds our package.json. */
const ownFolder = fileURLToPath(new URL('../../..', import.meta.url)).replace(/[\\/]$/, '');
const recipes = fileURLToPath(new URL('../../packages', import.meta.url));
/** Imports from where it is. Written into each folder of packages that we install. */
const DOOR = 'load.mjs';

let installMissing: InstallMissing = async (missing) => {
  throw packageMissing(missing);
};

/** What is done from now on where a package is missing, in place of rejecting with `package-missing`: a program's command line may ask and install. */
export function whenMissing(install: InstallMissing): void {
  installMissing = install;
}

/**
 * Imports a package that is not installed with peerwork: that of the project that peerwork is in, where its version fits, else the one that
 * peerwork has installed itself. Rejects with `package-missing`.
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

/** Sees to it that these are installed, in one go: for a person to be asked once, before the work begins. Rejects as `optionalPackage`. */
export async function requirePackages(...sets: readonly PackageSetName[]): Promise<void> {
  const missing: MissingSet[] = [];
  for (const set of new Set(sets)) {
    const found = await Promise.all(packageSets[set].packages.map((name) => findPackage(name)));
    if (found.includes(undefined)) missing.push(await missingSet(set));
  }
  if (missing.length > 0) await installMissing(missing);
}

/** Where peerwork keeps packages of its own: beside itself, if npm has installed it there, and in the home folder. */
export function packageFolders(): readonly string[] {
  const above = dirname(ownFolder);
  const beside = basename(above) === 'node_modules' ? [join(above, '.peerwork-packages')] : [];
  return [...beside, homeFolder()];
}

function homeFolder(): string {
  return join(homedir(), '.peerwork', 'packages');
}

/** The error, with the command that installs them. */
export function packageMissing(missing: readonly MissingSet[]): PeerworkError {
  const what = missing.map(({ specs, megabytes }) => `${specs[0]} (${megabytes} MB)`).join(', ');
  const specs = missing.flatMap((set) => set.specs).join(' ');
  return new PeerworkError('package-missing', `${what}. The command: npm install --prefix ${quoted(prefixFolder())} ${specs}`);
}

export const doorText = 'export const load = (name) => import(name);\n';

/** That of the project that has peerwork as a dependency; else a folder of ours, which needs nobody's rights. */
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

/** Those that bring this package. */
function setsOf(owner: string): readonly PackageSetName[] {
  return setNames.filter((set) => (packageSets[set].packages as readonly string[]).includes(owner));
}

/** The one that is called by it, else the first that brings it. */
function setOf(owner: string): PackageSetName {
  const sets = setsOf(owner);
  return sets.find((set) => set === owner) ?? (sets[0] as PackageSetName);
}

/** `bittorrent-tracker` of `bittorrent-tracker/server.js`. */
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
    // Node would take this one and none further up.
    if (await fits(version, range)) return (name) => import(name);
    break;
  }
  for (const base of packageFolders()) {
    for (const recipe of recipes) {
      const folder = join(base, recipe.folder);
      if ((await isOurs(folder)) && (await versionIn(join(folder, 'node_modules', owner))) !== undefined) return doorOf(folder);
    }
  }
  // What was installed with the command that `packageMissing` names.
  const byHand = homeFolder();
  const version = await versionIn(join(byHand, 'node_modules', owner));
  if (version === undefined || !(await fits(version, range)) || !(await isOurs(byHand))) return undefined;
  await writeFile(join(byHand, DOOR), doorText, { flag: 'wx' }).catch(() => {});
  return doorOf(byHand);
}

function doorOf(folder: string): Load {
  return async (name) => ((await import(pathToFileURL(join(folder, DOOR)).href)) as { load: Load }).load(name);
}

/** Code that somebody else could have put there is not run. */
async function isOurs(folder: string): Promise<boolean> {
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
  /** The versions that do, by package. */
  readonly ranges: Readonly<Record<string, string>>;
  readonly specs: readonly string[];
  readonly folder: string;
}

/** undefined: nothing was built but the code. */
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
