import { shown } from '../kit/shown.js';
import { MAX_LOCK_BYTES } from './manifest.js';
import { FieldReader, readJson, type Specs } from './package-fields.js';
import { isExactVersion, isPackageName, isRange } from './registry-spec.js';

const MAX_PACKAGES = 20_000;
/** Limit for nested package folders; far below what a path may have. */
const MAX_PLACE_CHARS = 1_024;
const MAX_BIN_CHARS = 512;
/** Digests of 64 and 20 bytes. Exactly one is allowed: npm accepts any of several, and the others could be weaker. */
const SHA512 = /^sha512-[A-Za-z\d+/]{86}==$/;
const SHA1 = /^sha1-[A-Za-z\d+/]{27}=$/;
const PLATFORM = /^!?[a-z\d][a-z\d_-]{0,31}$/i;
const COMMAND = /^[\w@][\w.@+-]{0,213}$/;

/** A package as pinned by the lockfile. Every field is rebuilt: nothing else of the entry is passed on. */
export interface LockedPackage {
  /** Its folder, such as `node_modules/a/node_modules/b`. */
  readonly place: string;
  /** The last part of `place`: the name under which it is required. */
  readonly key: string;
  /** Its name in the registry; differs from `key` for an alias. */
  readonly name: string;
  readonly version: string;
  /** Digest of its tarball; undefined for packages inside the tarball of the package around them. */
  readonly integrity: string | undefined;
  readonly dependencies: Specs;
  readonly optionalDependencies: Specs;
  readonly peerDependencies: Specs;
  readonly optionalPeers: ReadonlySet<string>;
  readonly platform: Readonly<Record<string, readonly string[]>>;
  readonly engines: Readonly<Record<string, string>>;
  readonly bin: Readonly<Record<string, string>>;
  readonly hasInstallScript: boolean;
}

type Fields = Readonly<Record<string, unknown>>;

/** Reads the packages of a lockfile by place, without those for development. Throws `dependencies-refused`. */
export function readLock(text: string): ReadonlyMap<string, LockedPackage> {
  const reader = new FieldReader('the lockfile');
  const lock = reader.object(readJson(text, MAX_LOCK_BYTES, 'the lockfile'), '');
  const version = lock['lockfileVersion'];
  if (version !== 2 && version !== 3) reader.refuse('only those of npm 7 and later are read (lockfileVersion 2 or 3)');
  const entries = Object.entries(reader.object(lock['packages'], 'packages'));
  if (entries.length > MAX_PACKAGES) reader.refuse(`it has more than ${MAX_PACKAGES} packages`);
  const packages = new Map<string, LockedPackage>();
  const devPlaces = new Set<string>();
  for (const [place, value] of entries) {
    const entry = reader.object(value, shown(place));
    if (place === '') continue;
    if (entry['dev'] === true) devPlaces.add(place);
    else packages.set(place, readEntry(reader, place, entry));
  }
  for (const place of packages.keys()) {
    const around = placeAround(place);
    if (around === '' || packages.has(around)) continue;
    if (devPlaces.has(around)) packages.delete(place);
    else reader.refuse(`${shown(place)} lies in a package that it does not have`);
  }
  return packages;
}

/** Returns the place of the package around this one; '' for the task itself. */
export function placeAround(place: string): string {
  const at = place.lastIndexOf('/node_modules/');
  return at === -1 ? '' : place.slice(0, at);
}

function readEntry(reader: FieldReader, place: string, entry: Fields): LockedPackage {
  const refuse: (why: string) => never = (why) => reader.refuse(`${shown(place)} ${why}`);
  const names = place.length <= MAX_PLACE_CHARS && place.startsWith('node_modules/') ? place.slice(13).split('/node_modules/') : [''];
  if (!names.every(isPackageName)) refuse('is in no folder that npm makes');
  const key = names.at(-1) ?? '';
  const { name = key, version, integrity, resolved } = entry;
  if (entry['link'] !== undefined && entry['link'] !== false) refuse('is a link');
  if (entry['workspaces'] !== undefined) refuse('has workspaces');
  if (typeof name !== 'string' || !isPackageName(name)) refuse(`has a name that no package has: ${shown(name)}`);
  if (typeof version !== 'string' || !isExactVersion(version)) refuse(`has no exact version: ${shown(version)}`);
  if (resolved !== undefined && (typeof resolved !== 'string' || !/^https?:\/\//.test(resolved))) refuse('does not come from a registry');
  const bundled = entry['inBundle'] === true && names.length > 1;
  const digest = bundled && integrity === undefined ? undefined : readIntegrity(integrity, refuse);
  const where = ` of ${shown(place)}`;
  return {
    place,
    key,
    name,
    version,
    integrity: bundled ? undefined : digest,
    dependencies: reader.specs(entry, 'dependencies', where),
    optionalDependencies: reader.specs(entry, 'optionalDependencies', where),
    peerDependencies: reader.specs(entry, 'peerDependencies', where),
    optionalPeers: reader.optionalPeers(entry, where),
    platform: readPlatform(entry, refuse),
    engines: readEngines(entry['engines']),
    bin: readBin(entry['bin'], key, refuse),
    hasInstallScript: entry['hasInstallScript'] === true,
  };
}

function readIntegrity(integrity: unknown, refuse: (why: string) => never): string {
  if (integrity === undefined) return refuse('has no integrity');
  if (typeof integrity !== 'string' || !(SHA512.test(integrity) || SHA1.test(integrity)))
    return refuse(`has an integrity that is not one SHA-512: ${shown(integrity)}`);
  const digest = integrity.replace(/^sha\d+-/, '');
  // The last base64 letter has bits that belong to no byte.
  return Buffer.from(digest, 'base64').toString('base64') === digest ? integrity : refuse('has an integrity with stray bits');
}

/** Reads `os`, `cpu` and `libc`: npm leaves an optional package out where they do not match. */
function readPlatform(entry: Fields, refuse: (why: string) => never): Record<string, string[]> {
  const platform: Record<string, string[]> = {};
  for (const field of ['os', 'cpu', 'libc'] as const) {
    const given = entry[field];
    if (given === undefined) continue;
    const values: readonly unknown[] = Array.isArray(given) ? given : [given];
    platform[field] = values.map((value) =>
      typeof value === 'string' && PLATFORM.test(value) ? value : refuse(`is for an ${field} that is none`),
    );
  }
  return platform;
}

/**
 * Reads `engines`, which have the same effect as the platform. Invalid values, common in old packages, are dropped, since npm ignores them
 * too.
 */
function readEngines(given: unknown): Record<string, string> {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) return {};
  const known = Object.entries(given).filter(
    ([name, range]) => (name === 'node' || name === 'npm') && typeof range === 'string' && isRange(range),
  );
  return Object.fromEntries(known);
}

function readBin(given: unknown, key: string, refuse: (why: string) => never): Record<string, string> {
  if (given === undefined) return {};
  const commands = typeof given === 'string' ? [[key.replace(/^.*\//, ''), given] as const] : Object.entries(given ?? {});
  for (const [name, path] of commands)
    if (!COMMAND.test(name) || typeof path !== 'string' || !isInside(path)) refuse(`has a command outside of it: ${shown(path)}`);
  return Object.fromEntries(commands);
}

function isInside(path: string): boolean {
  const parts = path.replace(/^(?:\.\/)+/, '').split('/');
  return (
    path.length <= MAX_BIN_CHARS && /^[^\\:\p{Cc}]+$/u.test(path) && parts.every((part) => part !== '' && part !== '.' && part !== '..')
  );
}
