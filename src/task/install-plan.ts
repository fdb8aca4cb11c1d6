import { PeerworkError } from '../errors.js';
import { shown } from '../kit/shown.js';
import { type LockedPackage, placeAround, readLock } from './lockfile.js';
import { type PackageFields, readPackageFields, type Specs } from './package-fields.js';
import { fits, type Wanted } from './registry-spec.js';

/** What npm receives instead of a package.json and a lockfile that someone else wrote. */
export interface InstallPlan {
  readonly packageJson: string;
  readonly lock: string;
  readonly packages: readonly PlannedPackage[];
}

export interface PlannedPackage {
  readonly place: string;
  readonly name: string;
  readonly version: string;
  readonly integrity: string;
}

/** What requires packages: the task itself, or a package at its place. */
interface Requirer {
  readonly place: string;
  readonly dependencies: Specs;
  readonly optionalDependencies: Specs;
  readonly peerDependencies: Specs;
  readonly optionalPeers: ReadonlySet<string>;
}

interface Edge {
  readonly to: LockedPackage;
  readonly optional: boolean;
}

/**
 * Plans a closed tree: the packages that package.json leads to, each required by exact version. npm finds nothing missing and nothing that
 * does not fit, so it requests these packages and no others from the registry, and never follows what the registry says about *their*
 * dependencies. No range, tag, address, override, bundle or shrinkwrap of the lockfile reaches npm. Bundled packages are merely files in
 * the tarball of the package around them.
 *
 * With `scripts`, keeps the commands of packages and the names of those that have install scripts. Throws `dependencies-refused`.
 */
export function planInstall(packageJson: string, lock: string, scripts = false): InstallPlan {
  const fields = readPackageFields(packageJson);
  const packages = readLock(lock);
  const tree = new LockTree(fields, packages);
  const reached = tree.reach(true);
  const needed = tree.reach(false);
  const entries: Record<string, object> = {};
  const planned: PlannedPackage[] = [];
  const scripted = new Set<string>();
  for (const { place, key, name, version, integrity, platform, engines, bin, hasInstallScript } of reached.packages) {
    if (integrity === undefined) continue;
    const wants = reached.edges.get(place);
    planned.push({ place, name, version, integrity });
    if (scripts && hasInstallScript) scripted.add(key);
    entries[place] = {
      ...(name !== key && { name }),
      version,
      integrity,
      ...(wants !== undefined && dependencyLists(wants)),
      ...platform,
      ...(Object.keys(engines).length > 0 && { engines }),
      ...(!needed.packages.has(packages.get(place) as LockedPackage) && { optional: true }),
      ...(scripts && Object.keys(bin).length > 0 && { bin }),
      ...(scripts && hasInstallScript && { hasInstallScript }),
    };
  }
  const root = dependencyLists(reached.edges.get('') ?? new Map());
  // npm 12 runs the scripts only of packages listed here; earlier versions ignore the field.
  const allowed = scripted.size > 0 && { allowScripts: Object.fromEntries([...scripted].map((name) => [name, true])) };
  return {
    packageJson: JSON.stringify({ name: 'task', private: true, ...root, ...allowed }),
    lock: JSON.stringify({ name: 'task', lockfileVersion: 3, requires: true, packages: { '': { name: 'task', ...root }, ...entries } }),
    packages: planned,
  };
}

function dependencyLists(edges: ReadonlyMap<string, Edge>): object {
  const named = (optional: boolean) =>
    Object.fromEntries(
      [...edges]
        .filter(([, edge]) => edge.optional === optional)
        .map(([key, { to }]) => [key, to.name === key ? to.version : `npm:${to.name}@${to.version}`]),
    );
  const [dependencies, optionalDependencies] = [named(false), named(true)];
  return {
    ...(Object.keys(dependencies).length > 0 && { dependencies }),
    ...(Object.keys(optionalDependencies).length > 0 && { optionalDependencies }),
  };
}

class LockTree {
  readonly #root: Requirer;
  readonly #fields: PackageFields;
  readonly #packages: ReadonlyMap<string, LockedPackage>;
  readonly #known = new Map<Requirer, Map<string, Edge>>();

  constructor(fields: PackageFields, packages: ReadonlyMap<string, LockedPackage>) {
    this.#root = { place: '', ...fields };
    this.#fields = fields;
    this.#packages = packages;
  }

  /**
   * Returns the packages reachable from the task, with or without those that may fail to install, and which requires which under which
   * name.
   */
  reach(optional: boolean): {
    readonly packages: ReadonlySet<LockedPackage>;
    readonly edges: ReadonlyMap<string, ReadonlyMap<string, Edge>>;
  } {
    const packages = new Set<LockedPackage>();
    const edges = new Map<string, Map<string, Edge>>();
    const visit = (from: Requirer) => {
      const owner = this.#unbundled(from.place);
      const own = edges.get(owner) ?? new Map<string, Edge>();
      edges.set(owner, own);
      for (const [key, edge] of this.#edges(from)) {
        if (edge.optional && !optional) continue;
        packages.add(edge.to);
        // What a bundled package requires is attributed to the package around it, where Node looks next.
        if (edge.to.integrity !== undefined && (own.get(key)?.optional ?? true)) own.set(key, edge);
      }
    };
    visit(this.#root);
    // A Set is iterated in insertion order, including entries added during the iteration.
    for (const each of packages) visit(each);
    return { packages, edges };
  }

  #edges(from: Requirer): Map<string, Edge> {
    const known = this.#known.get(from);
    if (known !== undefined) return known;
    const edges = new Map<string, Edge>();
    this.#known.set(from, edges);
    const add = (specs: Specs, kind: 'needed' | 'optional' | 'peer') => {
      for (const [key, wanted] of specs) {
        const to = this.#find(from.place, key);
        const optional = kind === 'optional' || (kind === 'peer' && from.optionalPeers.has(key));
        if (to !== undefined) {
          // npm itself leaves unsatisfied peers in a lockfile made with --legacy-peer-deps.
          if (kind !== 'peer') this.#check(from, to, wanted);
          edges.set(key, { to, optional });
        } else if (kind === 'needed' && !from.optionalDependencies.has(key)) {
          refuse(`it lacks ${shown(key)}, which ${from.place === '' ? 'package.json' : shown(from.place)} needs`);
        }
      }
    };
    add(from.peerDependencies, 'peer');
    add(from.dependencies, 'needed');
    add(from.optionalDependencies, 'optional');
    return edges;
  }

  #check(from: Requirer, to: LockedPackage, wanted: Wanted): void {
    if (this.#fields.overridden.has(to.key)) return;
    if ((wanted.alias ?? to.key) === to.name && fits(to.version, wanted)) return;
    const who = from.place === '' ? 'package.json' : shown(from.place);
    refuse(`${shown(to.place)} is ${to.name} ${to.version}, but ${who} wants ${shown(wanted.text)}: they are not in sync`);
  }

  /** Resolves like Node: in the package itself, then in each one around it. */
  #find(from: string, key: string): LockedPackage | undefined {
    for (let place = from; ; place = placeAround(place)) {
      const found = this.#packages.get(`${place === '' ? '' : `${place}/`}node_modules/${key}`);
      if (found !== undefined || place === '') return found;
    }
  }

  /** Returns the nearest enclosing package, or the package itself, that has a tarball. */
  #unbundled(place: string): string {
    let at = place;
    while (at !== '' && this.#packages.get(at)?.integrity === undefined) at = placeAround(at);
    return at;
  }
}

function refuse(why: string): never {
  throw new PeerworkError('dependencies-refused', `the lockfile: ${why}`);
}
