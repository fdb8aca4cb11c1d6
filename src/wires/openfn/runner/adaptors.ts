import { resolve } from 'node:path';
import { type NpmOptions, runNpm } from '../../../task/npm.js';
import type { OpenfnRun, OpenfnStep } from '../protocol.js';

const INSTALL_MS = 180_000;
const SPECIFIER = /^(@?[a-z\d][\w.-]*(?:\/[a-z\d][\w.-]*)?)(?:@([\w.-]+))?$/i;
/** Version of an adaptor that is in a folder of the owner's instead of npm. */
const LOCAL = 'local';
/** Imported by compiled job code for promises; part of the engine, and offers nothing that job code lacks. */
const ENGINE_RUNTIME = /^@openfn\/runtime$/;

export interface AdaptorPolicy {
  /** Names or full specifiers, with `*` for any characters: `@openfn/*`, `@openfn/language-http@7.*`. */
  readonly allowed: readonly string[];
  /** Whether missing adaptors may be installed, always without install scripts. */
  readonly install: boolean;
  /** Folder of a clone of OpenFn's adaptors: `@openfn/language-x@local` in a run refers to its `packages/x`. */
  readonly monorepo?: string;
}

/** A step in the engine's format. */
export interface EngineStep extends OpenfnStep {
  /** Location of adaptors that the engine must not look up itself, by name. */
  readonly linker?: Readonly<Record<string, { readonly path: string; readonly version: string }>>;
}

export interface AllowedSteps {
  readonly steps: readonly EngineStep[];
  /** Adaptors that the owner does not allow: the engine does not install them, and code that imports one crashes, as in OpenFn's worker. */
  readonly refused: readonly string[];
}

/**
 * Patterns for the engine's `whitelist`: what it may install (`name@version`) and what job code may import (the name). Paths never match,
 * because the engine would load any file of this machine.
 */
export function whitelistOf(allowed: readonly string[]): RegExp[] {
  const patterns = allowed.flatMap((pattern) => {
    const at = pattern.lastIndexOf('@');
    // A pattern with a version becomes two: the name alone for imports, which carry no version, and the full pattern for installs.
    return at > 0 ? [anchored(pattern.slice(0, at)), anchored(pattern)] : [anchored(pattern, '(?:@[^@/]*)?')];
  });
  return [...patterns, ENGINE_RUNTIME];
}

/**
 * Returns the steps with explicit adaptor versions. Throws an Error for an adaptor that cannot be left to the engine, which would use
 * another version, or no package at all.
 */
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
      return { ...knownFields(step), ...(adaptors && { adaptors }), ...(Object.keys(linker).length > 0 && { linker }) };
    }),
    refused: [...new Set(refused)],
  };
}

/** Copies the known fields only: a step may come from a job's data, and a `linker` of its own, for example, must not reach the engine. */
function knownFields({ id, name, expression, configuration, state, next }: OpenfnStep): OpenfnStep {
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

/** Installs an adaptor where the engine looks for it: under its name and version, so that several versions can coexist. */
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
