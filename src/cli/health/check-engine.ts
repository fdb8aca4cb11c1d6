import { asPeerworkError } from '../../errors.js';
import type { Check } from '../../job/health.js';

/** What is told of a container engine that was found. */
export interface EngineSays {
  readonly kind: string;
  readonly version: string;
  readonly rootless: boolean;
}

/**
 * The container engine, found as the runner finds it. Where the owner demanded one, a Worker without fails; else it leaves container jobs to
 * others.
 */
export async function checkEngine(
  find: () => Promise<{ readonly facts: EngineSays }>,
  { demanded }: { readonly demanded: boolean },
): Promise<Check> {
  const name = 'containers';
  try {
    const { kind, version, rootless } = (await find()).facts;
    return { name, state: 'ok', detail: `${kind} ${version}${rootless ? ', without root' : ''}` };
  } catch (thrown) {
    const { message, todo } = asPeerworkError(thrown);
    if (demanded) return { name, state: 'fail', detail: message, todo };
    return {
      name,
      state: 'warn',
      detail: `${message}; jobs with containers are left to others`,
      todo: `${todo.slice(0, -1)}, or set PEERWORK_CONTAINERS=off.`,
    };
  }
}
