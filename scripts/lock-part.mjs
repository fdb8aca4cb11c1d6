// Extracts a part of package-lock.json: these packages and their dependencies, for every platform, in the tested versions.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
const read = (file) => JSON.parse(readFileSync(join(root, file), 'utf8'));
export const manifest = read('package.json');
export const { packages: locked } = read('package-lock.json');
/** If only the name reveals the C library, npm would install the binaries for all of them. */
const LIBC = /-(musl|gnu)(eabihf)?$/;

/** Resolves a dependency to its path in the lockfile, as Node would from its dependent. */
function pathOf(name, owner) {
  for (let folder = owner; ; folder = folder.replace(/(^|\/)node_modules\/(@[^/]+\/)?[^/]+$/, '')) {
    const path = `${folder}${folder && '/'}node_modules/${name}`;
    if (locked[path] !== undefined) return path;
    if (folder === '') return undefined;
  }
}

/** Returns the paths of these packages and all their dependencies; with `optional` false, without optional ones. */
export function pathsOf(names, { optional = true } = {}) {
  const found = new Set();
  const waiting = names.map((name) => [name, '']);
  for (const [name, owner] of waiting) {
    const path = pathOf(name, owner);
    if (path === undefined || found.has(path)) continue;
    found.add(path);
    const { dependencies, optionalDependencies, peerDependencies = {}, peerDependenciesMeta = {} } = locked[path];
    const peers = Object.keys(peerDependencies).filter((peer) => !peerDependenciesMeta[peer]?.optional);
    for (const each of [...Object.keys({ ...dependencies, ...(optional && optionalDependencies) }), ...peers]) waiting.push([each, path]);
  }
  return [...found].sort();
}

/** Returns package.json and package-lock.json for `npm ci` of these packages, with the ranges of our package.json. */
export function lockPart(names, head) {
  const ranges = { ...manifest.peerDependencies, ...manifest.devDependencies, ...manifest.dependencies };
  const dependencies = Object.fromEntries([...names].sort().map((name) => [name, ranges[name]]));
  const required = new Set(pathsOf(names, { optional: false }));
  const packages = Object.fromEntries(pathsOf(names).map((path) => [path, entryOf(path, required.has(path))]));
  return {
    manifest: { ...head, dependencies },
    lock: { ...head, lockfileVersion: 3, requires: true, packages: { '': { ...head, dependencies }, ...packages } },
  };
}

function entryOf(path, isRequired) {
  const { dev, devOptional, peer, funding, optional, ...rest } = locked[path];
  const entry = { ...rest, ...(isRequired ? {} : { optional: true }) };
  const libc = LIBC.exec(path)?.[1];
  if (libc !== undefined && entry.optional && entry.libc === undefined) entry.libc = [libc === 'gnu' ? 'glibc' : libc];
  return entry;
}

export const digestOf = (value) => createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 8);
