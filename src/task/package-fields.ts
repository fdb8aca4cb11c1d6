import { PeerworkError } from '../errors.js';
import { JsonRefused, parseJson } from '../kit/json.js';
import { shown } from '../kit/shown.js';
import { canonicalJson } from './canonical-json.js';
import { isPackageName, readSpec, type Wanted } from './registry-spec.js';

/** More than any program's dependencies, and few enough to be checked within a second. */
const MAX_SPECS = 50_000;
/** Limit for distinct specs: each takes up to 40 µs to parse. A thousand packages have about as many. */
const MAX_TEXTS = 10_000;
const MAX_PACKAGE_BYTES = 256 * 1024;
/** Maximum nesting of overrides. */
const MAX_DEPTH = 32;

export type Specs = ReadonlyMap<string, Wanted>;
type Overrides = { readonly [name: string]: string | Overrides };

/** The fields of a package.json that determine what is installed, each rebuilt from what a registry knows. */
export interface PackageFields {
  readonly dependencies: Specs;
  readonly optionalDependencies: Specs;
  readonly peerDependencies: Specs;
  /** Names of optional peer dependencies. */
  readonly optionalPeers: ReadonlySet<string>;
  readonly overrides: Overrides;
  /** Names of all packages that any override mentions, at any depth. */
  readonly overridden: ReadonlySet<string>;
}

/**
 * Returns the dependency fields as canonical JSON; null if the package.json has no dependencies. Development dependencies are left out.
 * Throws `dependencies-refused`.
 */
export function dependencyFields(packageJson: string): string | null {
  const fields = readPackageFields(packageJson);
  const { dependencies, optionalDependencies, peerDependencies, optionalPeers, overrides } = fields;
  if (dependencies.size + optionalDependencies.size + peerDependencies.size === 0) return null;
  const all = {
    dependencies: texts(dependencies),
    optionalDependencies: texts(optionalDependencies),
    peerDependencies: texts(peerDependencies),
    peerDependenciesMeta: Object.fromEntries([...optionalPeers].map((name) => [name, { optional: true }])),
    overrides,
  };
  return canonicalJson(Object.fromEntries(Object.entries(all).filter(([, value]) => Object.keys(value).length > 0)));
}

function texts(specs: Specs): Record<string, string> {
  return Object.fromEntries([...specs].map(([name, { text }]) => [name, text]));
}

/** Throws `dependencies-refused`. */
export function readPackageFields(packageJson: string): PackageFields {
  const reader = new FieldReader('package.json');
  const given = reader.object(readJson(packageJson, MAX_PACKAGE_BYTES, 'package.json'), '');
  const dependencies = reader.specs(given, 'dependencies');
  const optionalDependencies = reader.specs(given, 'optionalDependencies');
  const peerDependencies = reader.specs(given, 'peerDependencies');
  const optionalPeers = reader.optionalPeers(given);
  const overridden = new Set<string>();
  const own = new Set([...dependencies.keys(), ...optionalDependencies.keys(), ...peerDependencies.keys()]);
  const overrides = given['overrides'] === undefined ? {} : readOverrides(reader, given['overrides'], own, overridden, 0);
  return { dependencies, optionalDependencies, peerDependencies, optionalPeers, overrides, overridden };
}

/**
 * Rebuilds overrides: `{ name: spec }`, `{ "name@range": { ".": spec, other: spec } }`, and `$name` for the package's own spec of `name`.
 */
function readOverrides(reader: FieldReader, given: unknown, own: ReadonlySet<string>, seen: Set<string>, depth: number): Overrides {
  if (depth > MAX_DEPTH) reader.refuse('its overrides are nested too deep');
  const rebuilt: [string, string | Overrides][] = [];
  for (const [key, value] of Object.entries(reader.object(given, 'overrides'))) {
    const at = key.indexOf('@', 1);
    const name = at === -1 ? key : key.slice(0, at);
    if (!(key === '.' && depth > 0) && !isPackageName(name))
      reader.refuse(`it overrides ${shown(key)}, which is not the name of a package`);
    if (at !== -1) reader.spec(key.slice(at + 1), `the override of ${shown(name)}`);
    if (key !== '.') seen.add(name);
    if (typeof value !== 'string') rebuilt.push([key, readOverrides(reader, value, own, seen, depth + 1)]);
    else if (value.startsWith('$')) {
      if (!own.has(value.slice(1))) reader.refuse(`an override refers to ${shown(value)}, which is none of its dependencies`);
      rebuilt.push([key, value]);
    } else {
      reader.spec(value, `the override of ${shown(key)}`);
      rebuilt.push([key, value]);
    }
  }
  return Object.fromEntries(rebuilt);
}

/** Throws `dependencies-refused`. */
export function readJson(text: string, maxBytes: number, what: string): unknown {
  try {
    return parseJson(text, { maxBytes });
  } catch (error) {
    if (!(error instanceof JsonRefused)) throw error;
    const why = error.reason === 'malformed' ? 'is not JSON' : `cannot be used: ${error.message}`;
    throw new PeerworkError('dependencies-refused', `${what} ${why}`);
  }
}

/** Reads the fields of package.json and of lockfile entries, and limits the total number of specs. */
export class FieldReader {
  readonly #what: string;
  readonly #seen = new Map<string, Wanted>();
  #count = 0;

  constructor(what: string) {
    this.#what = what;
  }

  refuse(why: string): never {
    throw new PeerworkError('dependencies-refused', `${this.#what}: ${why}`);
  }

  object(value: unknown, field: string): Readonly<Record<string, unknown>> {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) this.refuse(`${field || 'it'} is not an object`);
    return value as Record<string, unknown>;
  }

  specs(fields: Readonly<Record<string, unknown>>, field: string, where = ''): Map<string, Wanted> {
    const specs = new Map<string, Wanted>();
    if (!Object.hasOwn(fields, field)) return specs;
    for (const [name, spec] of Object.entries(this.object(fields[field], `${field}${where}`))) {
      if (!isPackageName(name)) this.refuse(`${field}${where} names ${shown(name)}, which is not the name of a package`);
      if (typeof spec !== 'string') this.refuse(`${field}${where} wants no version of ${shown(name)}`);
      specs.set(name, this.spec(spec, `${shown(name)} in ${field}${where}`));
    }
    return specs;
  }

  /** Parses a range, a tag or an alias of a registry package; refuses paths, addresses and the `user/repository` of a code host. */
  spec(text: string, what: string): Wanted {
    this.#count += 1;
    if (this.#count > MAX_SPECS || this.#seen.size > MAX_TEXTS) this.refuse('it wants too many packages');
    const wanted = this.#seen.get(text) ?? readSpec(text) ?? this.refuse(`${what} does not come from a registry: ${shown(text)}`);
    this.#seen.set(text, wanted);
    return wanted;
  }

  optionalPeers(fields: Readonly<Record<string, unknown>>, where = ''): Set<string> {
    const optional = new Set<string>();
    if (!Object.hasOwn(fields, 'peerDependenciesMeta')) return optional;
    for (const [name, meta] of Object.entries(this.object(fields['peerDependenciesMeta'], `peerDependenciesMeta${where}`))) {
      if (!isPackageName(name)) this.refuse(`peerDependenciesMeta${where} names ${shown(name)}, which is not the name of a package`);
      if (this.object(meta, `peerDependenciesMeta${where}`)['optional'] === true) optional.add(name);
    }
    return optional;
  }
}
