// A part of package-lock.json: what these packages need, on every platform, in the versions that were tested.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
const read = (file) => JSON.parse(readFileSync(join(root, file), 'utf8'));
export const manifest = read('package.json');
export const { packages: locked } = read('package-lock.json');
/** Where the system's C library is in the name alone, npm would install the binaries for all of them. */
const LIBC = /-(musl|gnu)(eabihf)?$/;

/** The path of a dependency in the lockfile, as Node would look for it from that of its owner. */
function pathOf(name, owner) {
  for (let folder = owner; ; folder = folder.replace(/(^|\/)node_modules\/(@[^/]+\/)?[^/]+$/, '')) {
    const path = `${folder}${folder && '/'}node_modules/${name}`;
    if (locked[path] !== undefined) return path;
    if (folder === '') return undefined;
  }
}

/** The paths of these packages and all that they need; without what is optional on request. */
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

/** package.json and package-lock.json for `npm ci` of these, with the ranges that our package.json has for them. */
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
