import type { OpenfnRun, OpenfnStep } from '../../job/openfn.js';
import { type NpmOptions, runNpm } from '../../task/npm.js';

const INSTALL_MS = 180_000;
const SPECIFIER = /^(@?[a-z\d][\w.-]*(?:\/[a-z\d][\w.-]*)?)(?:@([\w.-]+))?$/i;

export interface AdaptorPolicy {
  /** Names or whole specifiers, `*` for any characters: `@openfn/*`, `@openfn/language-http@7.*`. */
  readonly allowed: readonly string[];
  /** May what is missing be installed? Never with install scripts. */
  readonly install: boolean;
}

/** The steps with their adaptors' versions named. Throws an Error with the engine's words for what the owner of this machine does not allow. */
export function allowedSteps({ steps }: OpenfnRun, { allowed }: AdaptorPolicy): OpenfnStep[] {
  return steps.map((step) => {
    if (step.adaptors === undefined) return { ...step };
    return { ...step, adaptors: step.adaptors.map((specifier) => checked(specifier, allowed)) };
  });
}

function checked(specifier: string, allowed: readonly string[]): string {
  const [, name = '', version = 'latest'] = SPECIFIER.exec(specifier) ?? [];
  const exact = `${name}@${version}`;
  const permitted = name !== '' && version !== 'local' && allowed.some((pattern) => fits(pattern, name) || fits(pattern, exact));
  if (!permitted) throw new Error(`Error installing ${specifier}: this worker does not allow it`);
  return exact;
}

function fits(pattern: string, text: string): boolean {
  const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`).test(text);
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
