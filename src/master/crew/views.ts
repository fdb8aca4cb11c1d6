import type { JobError, Json } from '../../job/job.js';
import { VALUE_LIMITS } from '../../job/limits.js';
import { parseJson } from '../../kit/json.js';
import type { GroupRecord, JobRecord, LeasedParent, Ledger } from '../../ledger/ledger.js';
import { storedJson } from '../../ledger/stored-json.js';

/** Our records in the shapes of crew (its REST resources of 1.0.25). */

export const WORKER_PREFIX = 'crew:';

export interface TaskGroup {
  readonly _id: string;
  readonly name: string | null;
  readonly isPaused: boolean;
  readonly createdAt: string;
}

export function taskGroup({ id, name, paused, createdAt, meta }: GroupRecord): TaskGroup {
  const extra = typeof meta === 'object' && meta !== null && !Array.isArray(meta) ? meta : {};
  return { ...extra, _id: id, name: name === id ? null : name, isPaused: paused, createdAt: instant(createdAt) };
}

export interface Task {
  readonly _id: string;
  readonly taskGroupId: string | null;
  readonly channel: string;
  readonly workgroup: string | null;
  readonly key: string | null;
  readonly isComplete: boolean;
  readonly [field: string]: Json;
}

/** One task, with its errors; undefined if there is none. */
export async function findTask(ledger: Ledger, id: string): Promise<Task | undefined> {
  const [job, history] = await Promise.all([ledger.get(id), ledger.history(id, 0, 500)]);
  if (job === undefined) return undefined;
  const group = job.group === undefined ? undefined : await ledger.getGroup(job.group);
  return task(
    job,
    history.filter(({ kind }) => kind === 'error').map(({ body }) => errorValue(body as unknown as JobError)),
    group?.paused ?? false,
  );
}

/** Those that are still there, in the order given. */
export async function findTasks(ledger: Ledger, ids: readonly string[]): Promise<Task[]> {
  return (await Promise.all(ids.map((id) => findTask(ledger, id)))).filter((found) => found !== undefined);
}

function task(job: JobRecord, errors: Json[], isPaused: boolean): Task {
  const { state, attempts, settled } = job;
  const ended = state === 'completed' || state === 'failed' || state === 'cancelled';
  const assigned = state === 'leased';
  return {
    _id: job.id,
    taskGroupId: job.group ?? null,
    name: job.name ?? null,
    channel: job.channel,
    workgroup: job.workgroup ?? null,
    key: job.key ?? null,
    remainingAttempts: ended ? 0 : Math.max(0, attempts.allowed - attempts.made),
    isPaused,
    parentsComplete: job.parents.length > 0 && state !== 'blocked',
    isComplete: state === 'completed',
    priority: job.priority,
    runAfter: job.runAt === undefined ? null : instant(job.runAt),
    progressWeight: job.weight,
    isSeed: job.seed,
    errorDelayInSeconds: job.backoffMs / 1_000,
    input: job.data,
    output: settled?.output ?? null,
    errors,
    createdAt: instant(job.createdAt),
    parentIds: [...job.parents],
    assignedTo: assigned ? workerOf(job.worker?.id ?? '') : null,
    assignedAt: assigned && job.startedAt !== undefined ? instant(job.startedAt) : null,
    executeMessageId: null,
    examineMessageId: null,
  };
}

/** What a worker said went wrong, which in crew may be any JSON. */
function errorValue({ message }: JobError): Json {
  if (!/^[{[]/.test(message)) return message;
  try {
    return parseJson(message, VALUE_LIMITS) as Json;
  } catch {
    return message;
  }
}

export interface ParentData {
  readonly _id: string;
  readonly channel: string;
  readonly input: Json;
  readonly output: Json;
}

export function parentData({ id, channel, data, output }: LeasedParent): ParentData {
  return { _id: id, channel, input: storedJson<Json>(data), output: storedJson<Json>(output) };
}

function workerOf(id: string): string {
  return id.replace(/^crew(-[\w-]{16})?:/, '');
}

function instant(ms: number): string {
  return new Date(ms).toISOString();
}
