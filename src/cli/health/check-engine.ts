import type { EngineFacts } from '../../containers/engine-facts.js';
import { missingLimits } from '../../containers/find-engine.js';
import { asPeerworkError } from '../../errors.js';
import type { Check } from '../../job/health.js';

/** The reported facts of a container engine. */
export type EngineReport = Pick<EngineFacts, 'kind' | 'version' | 'rootless' | 'limits'>;

const SWITCH_ON =
  'Switch on these cgroup controllers in the kernel: on a Raspberry Pi, add `cgroup_enable=memory` to the line in /boot/firmware/cmdline.txt and reboot.';
const DELEGATE =
  'Let this user have these cgroup controllers: on cgroup v2, `Delegate=cpu memory pids` for user@.service of systemd; with cgroup v1 only an engine that runs as root has them.';

/**
 * Checks the container engine, found as the runner finds it. A missing engine is a failure if the owner required one; otherwise
 * container jobs are left to other workers.
 */
export async function checkEngine(
  find: () => Promise<{ readonly facts: EngineReport }>,
  { required }: { readonly required: boolean },
): Promise<Check> {
  const name = 'containers';
  try {
    const { facts } = await find();
    const { kind, version, rootless } = facts;
    const detail = `${kind} ${version}${rootless ? ', without root' : ''}`;
    const missing = missingLimits(facts);
    if (missing === '') return { name, state: 'ok', detail };
    return {
      name,
      state: 'warn',
      detail: `${detail}; containers cannot be held to limits of ${missing}`,
      hint: rootless ? DELEGATE : SWITCH_ON,
    };
  } catch (thrown) {
    const { message, hint } = asPeerworkError(thrown);
    if (required) return { name, state: 'fail', detail: message, hint };
    return {
      name,
      state: 'warn',
      detail: `${message}; jobs with containers are left to others`,
      hint: `${hint.slice(0, -1)}, or set PEERWORK_CONTAINERS=off.`,
    };
  }
}
