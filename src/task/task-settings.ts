import * as v from 'valibot';
import { TUNNEL_NAME } from '../config/tunnel.js';
import { type NetworkWish, networkSetting } from '../egress/policy.js';
import { PeerworkError } from '../errors.js';
import { childBounds } from '../job/child-bounds.js';
import { type JsonLimits, parseJson } from '../kit/json.js';

/** Next to the code of a task module, or instead of code for another runner. */
export const SETTINGS_NAME = 'task.json';
export const MAX_SETTINGS: JsonLimits = { maxBytes: 256 * 1024, maxDepth: 32 };

/** Settings in the task.json of a task module. */
export interface TaskModuleSettings {
  readonly network: NetworkWish;
  /** Whether one process runs job after job, or each job gets a new one. */
  readonly process: 'shared' | 'per-job';
}

export const DEFAULT_TASK_SETTINGS: TaskModuleSettings = { network: 'internet', process: 'shared' };

const settings = v.strictObject({
  runner: v.exactOptional(v.literal('task-module')),
  tunnel: v.exactOptional(v.pipe(v.string(), v.regex(TUNNEL_NAME, 'must be the name of a tunnel'))),
  children: v.exactOptional(childBounds),
  network: v.exactOptional(networkSetting),
  process: v.exactOptional(v.picklist(['shared', 'per-job'], 'must be "shared" or "per-job"')),
});
const schema = v.pipe(
  v.unknown(),
  v.check((value) => !Array.isArray(value), 'it is not an object'),
  settings,
);

/** Parses a task.json. Throws `task-settings-invalid` with the path of the invalid setting. */
export function readTaskModuleSettings(text: string | Uint8Array): TaskModuleSettings {
  let value: unknown;
  try {
    value = parseJson(text, { ...MAX_SETTINGS, exact: true });
  } catch (cause) {
    throw new PeerworkError('task-settings-invalid', `${SETTINGS_NAME}: ${cause instanceof Error ? cause.message : 'not JSON'}`, { cause });
  }
  const { success, output, issues } = v.safeParse(schema, value, { abortEarly: true });
  if (success) return { ...DEFAULT_TASK_SETTINGS, ...output };
  const [issue] = issues;
  const path = v.getDotPath(issue);
  const what = issue.expected === 'never' ? 'no setting has this name' : issue.message;
  throw new PeerworkError('task-settings-invalid', `${SETTINGS_NAME}${path === null ? '' : `: ${path}`}: ${what}`);
}
