import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import { PeerworkError } from '../errors.js';
import type { Json } from '../job/job.js';
import { type JsonRefused, parseJson } from '../kit/json.js';
import { removeTree } from '../kit/remove-tree.js';
import { canonicalJson } from './canonical-json.js';
import { MAX_LOCK_BYTES } from './manifest.js';
import { runNpm } from './npm.js';

const packageName = v.pipe(v.string(), v.regex(/^(?:@[\w.~-]+\/)?[a-z~-][\w.~-]*$/i));
const specs = v.record(packageName, v.string());

const packageFields = v.object({
  dependencies: v.optional(specs, {}),
  optionalDependencies: v.optional(specs, {}),
  peerDependencies: v.optional(specs, {}),
  peerDependenciesMeta: v.optional(v.record(v.string(), v.object({ optional: v.optional(v.boolean(), false) })), {}),
  overrides: v.optional(v.record(v.string(), v.unknown()), {}),
});
type PackageFields = v.InferOutput<typeof packageFields>;

const lockEntry = v.looseObject({
  version: v.optional(v.string()),
  resolved: v.optional(v.string()),
  integrity: v.optional(v.string()),
  link: v.optional(v.boolean()),
  inBundle: v.optional(v.boolean()),
  dev: v.optional(v.boolean()),
  dependencies: v.optional(specs),
  optionalDependencies: v.optional(specs),
});

const lockfile = v.looseObject({
  lockfileVersion: v.pipe(v.number(), v.minValue(2)),
  packages: v.record(v.string(), lockEntry),
});

/**
 * The fields of a package.json that decide what is installed, as canonical JSON; null if it names no dependencies. Development
 * dependencies are not among them. Throws `manifest-invalid`.
 */
export function dependencyFields(packageJson: string): string | null {
  const fields = parse(packageFields, packageJson, 'package.json');
  const { dependencies, optionalDependencies, peerDependencies } = fields;
  const all = { ...dependencies, ...optionalDependencies, ...peerDependencies };
  if (Object.keys(all).length === 0) return null;
  refuseForeignSpecs(fields);
  return canonicalJson(named(fields));
}

function named(fields: PackageFields): Record<string, Json> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => Object.keys(value).length > 0)) as Record<string, Json>;
}

/**
 * What npm gets to see of a lockfile. Only packages of a registry are let through, and their addresses are taken out: npm then
 * fetches name and version from *this* machine's registry and holds it against the integrity in the lock. A lockfile can so
 * neither point npm at an address in the owner's network nor bring code that no registry has.
 * Throws `dependencies-failed`.
 */
export function installableLock(lock: string, packageJson: string): string {
  const fields = parse(packageFields, packageJson, 'package.json', 'dependencies-failed');
  refuseForeignSpecs(fields, 'dependencies-failed');
  const parsed = parse(lockfile, lock, 'the lockfile', 'dependencies-failed');
  const packages: Record<string, unknown> = { '': named(fields) };
  for (const [place, entry] of Object.entries(parsed.packages)) {
    if (place === '' || entry.dev === true) continue;
    const refuse = (why: string): never => {
      throw new PeerworkError('dependencies-failed', `${place.slice(0, 120)} in the lockfile ${why}`);
    };
    if (!/^(?:node_modules\/(?:@[\w.~-]+\/)?[\w~-][\w.~-]*)(?:\/node_modules\/(?:@[\w.~-]+\/)?[\w~-][\w.~-]*)*$/.test(place))
      refuse('is in no folder that npm makes');
    if (entry.link === true) refuse('is a link');
    if (entry.resolved !== undefined && !/^https?:\/\//.test(entry.resolved)) refuse('does not come from a registry');
    for (const spec of Object.values({ ...entry.dependencies, ...entry.optionalDependencies }))
      if (!isRegistrySpec(spec)) refuse('needs a package that does not come from a registry');
    if (entry.inBundle !== true && (entry.version === undefined || entry.integrity === undefined)) refuse('has no version or no integrity');
    const { resolved: _, ...rest } = entry;
    packages[place] = rest;
  }
  for (const name of Object.keys(fields.dependencies))
    if (!(`node_modules/${name}` in packages) && !(name in fields.optionalDependencies))
      throw new PeerworkError('dependencies-failed', `the lockfile lacks ${name}`);
  return JSON.stringify({ name: 'task', lockfileVersion: parsed.lockfileVersion, requires: true, packages });
}

/** Lets npm choose versions. Rejects with `dependencies-unlocked`. */
export async function makeLock(packageJson: string, signal: AbortSignal, timeoutMs = 120_000): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'peerwork-lock-'));
  try {
    const work = join(folder, 'task');
    await mkdir(work);
    await writeFile(join(work, 'package.json'), packageJson);
    const args = ['install', '--package-lock-only', '--ignore-scripts', '--omit=dev', '--omit-lockfile-registry-resolved'];
    const fault = await runNpm(args, { cwd: work, cacheFolder: join(folder, 'cache'), timeoutMs, signal });
    if (fault !== undefined) throw new PeerworkError('dependencies-unlocked', fault);
    return await readFile(join(work, 'package-lock.json'), 'utf8');
  } finally {
    await removeTree(folder);
  }
}

export function textHash(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function refuseForeignSpecs(fields: PackageFields, code: 'manifest-invalid' | 'dependencies-failed' = 'manifest-invalid'): void {
  const wanted = { ...fields.dependencies, ...fields.optionalDependencies, ...fields.peerDependencies };
  for (const [name, spec] of Object.entries(wanted))
    if (!isRegistrySpec(spec)) throw new PeerworkError(code, `the dependency ${name} does not come from a registry: ${spec.slice(0, 120)}`);
  for (const spec of leaves(fields.overrides))
    if (!isRegistrySpec(spec)) throw new PeerworkError(code, `an override does not come from a registry: ${spec.slice(0, 120)}`);
}

/** A range, a tag or an alias of a registry package; not a path, an address, or the `user/repository` of a code host. */
export function isRegistrySpec(spec: string): boolean {
  const wanted = spec.startsWith('npm:') ? spec.slice(4).replace(/^@[\w.~-]+\//, '') : spec;
  return !/[:/\\]/.test(wanted) && !/^\.|\.t(?:ar\.)?gz$/.test(wanted);
}

function leaves(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(leaves) : [];
}

function parse<S extends v.GenericSchema>(
  schema: S,
  text: string,
  what: string,
  code: 'manifest-invalid' | 'dependencies-failed' = 'manifest-invalid',
): v.InferOutput<S> {
  let value: unknown;
  try {
    value = parseJson(text, { maxBytes: MAX_LOCK_BYTES });
  } catch (thrown) {
    throw new PeerworkError(code, `${what} is not JSON that can be used: ${(thrown as JsonRefused).message}`);
  }
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  throw new PeerworkError(code, `${what}: ${v.getDotPath(result.issues[0]) ?? ''}: ${result.issues[0].message}`.slice(0, 300));
}
