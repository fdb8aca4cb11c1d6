import { resolve } from 'node:path';
import { type NpmOptions, runNpm } from '../../../task/npm.js';
import type { OpenfnRun, OpenfnStep } from '../protocol.js';

const INSTALL_MS = 180_000;
const SPECIFIER = /^(@?[a-z\d][\w.-]*(?:\/[a-z\d][\w.-]*)?)(?:@([\w.-]+))?$/i;
/** The version of an adaptor that lies in a folder of the owner's instead of npm. */
const LOCAL = 'local';
/** Compiled job code imports it for promises; it is the engine's own, and has nothing that job code has not. */
const ENGINES_OWN = /^@openfn\/runtime$/;

export interface AdaptorPolicy {
  /** Names or whole specifiers, `*` for any characters: `@openfn/*`, `@openfn/language-http@7.*`. */
  readonly allowed: readonly string[];
  /** May what is missing be installed? Never with install scripts. */
  readonly install: boolean;
  /** The folder of a clone of OpenFn's adaptors: what a run calls `@openfn/language-x@local` is its `packages/x`. */
  readonly monorepo?: string;
}

/** A step as the engine takes it. */
export interface EngineStep extends OpenfnStep {
  /** By name: where an adaptor lies that the engine is not to look for. */
  readonly linker?: Readonly<Record<string, { readonly path: string; readonly version: string }>>;
}

export interface AllowedSteps {
  readonly steps: readonly EngineStep[];
  /** Adaptors that the owner does not allow: the engine installs none of them, and code that imports one crashes, as in OpenFn's worker. */
  readonly refused: readonly string[];
}

/**
 * What the engine may install (`name@version`) and job code import (the name), as patterns for its `whitelist`. Paths are never allowed:
 * the engine would load any file of this machine.
 */
export function whitelistOf(allowed: readonly string[]): RegExp[] {
  const patterns = allowed.flatMap((pattern) => {
    const at = pattern.lastIndexOf('@');
    // Of a name with versions: the name alone for imports, where no version is told, and the two together for installing.
    return at > 0 ? [anchored(pattern.slice(0, at)), anchored(pattern)] : [anchored(pattern, '(?:@[^@/]*)?')];
  });
  return [...patterns, ENGINES_OWN];
}

/** The steps with their adaptors' versions named. Throws an Error for what cannot be left to the engine: it would take another version, or no package at all. */
export function allowedSteps({ steps }: OpenfnRun, { allowed, monorepo }: AdaptorPolicy): AllowedSteps {
  const whitelist = whitelistOf(allowed);
  const permits = (text: string) => whitelist.some((pattern) => pattern.test(text));
  const refused: string[] = [];
  const checked = (specifier: string, linker: Record<string, { path: string; version: string }>): string => {
    const [, name = '', version = 'latest'] = SPECIFIER.exec(specifier) ?? [];
    const exact = `${name}@${version}`;
    if (name === '') throw new Error(`module blacklisted: ${specifier}`);
    if (version === LOCAL && permits(name)) {
      if (monorepo === undefined) throw new Error(`Failed to import module "${exact}": this worker has no folder of adaptors`);
      linker[name] = { path: resolve(monorepo, 'packages', name.replace('@openfn/language-', '')), version };
    } else if (!permits(exact)) {
      if (permits(name)) throw new Error(`module blacklisted: ${exact}`);
      refused.push(exact);
    }
    return exact;
  };
  return {
    steps: steps.map((step) => {
      const linker: Record<string, { path: string; version: string }> = {};
      const adaptors = step.adaptors?.map((specifier) => checked(specifier, linker));
      return { ...known(step), ...(adaptors && { adaptors }), ...(Object.keys(linker).length > 0 && { linker }) };
    }),
    refused: [...new Set(refused)],
  };
}

/** A step may come from a job's data: what else stands in it, a `linker` of its own say, is not for the engine. */
function known({ id, name, expression, configuration, state, next }: OpenfnStep): OpenfnStep {
  return {
    id,
    ...(name !== undefined && { name }),
    ...(expression !== undefined && { expression }),
    ...(configuration !== undefined && { configuration }),
    ...(state !== undefined && { state }),
    ...(next !== undefined && { next }),
  };
}

function anchored(pattern: string, tail = ''): RegExp {
  const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^(?![./])${parts.join('.*')}${tail}$`);
}

/** Puts an adaptor where the engine looks for it: under its name and version, so that several versions lie side by side. */
export async function installAdaptor(specifier: string, repoFolder: string, signal: AbortSignal, npm: NpmOptions): Promise<void> {
  const [, name, version] = SPECIFIER.exec(specifier) ?? [];
  if (name === undefined || version === undefined) throw new Error('it has no version');
  const args = [
    'install',
    '--no-package-lock',
    '--ignore-scripts',
    '--no-bin-links',
    '--save-exact',
    `${name}_${version}@npm:${name}@${version}`,
  ];
  const { fault } = await runNpm(args, { cwd: repoFolder, timeoutMs: INSTALL_MS, signal }, npm);
  if (fault !== undefined) throw new Error(fault);
}
