import type { JobError, Json } from '../../../job/job.js';
import { VALUE_LIMITS } from '../../../job/limits.js';
import { parseJson } from '../../../kit/json.js';
import type { GroupRecord, JobRecord, LeasedParent, Ledger } from '../../../ledger/ledger.js';
import { storedJson } from '../../../ledger/stored-json.js';
import { asSentOf, fieldsOf } from './as-sent.js';

/** Ledger records converted to the shapes of crew's REST resources (1.0.25). */

export const WORKER_PREFIX = 'crew:';

export interface TaskGroup {
  readonly _id: string;
  readonly name: string | null;
  readonly isPaused: boolean;
  readonly createdAt: string;
}

export function taskGroup({ id, name, paused, createdAt, meta }: GroupRecord): TaskGroup {
  return { name: name === id ? null : name, ...fieldsOf(meta), _id: id, isPaused: paused, createdAt: instant(createdAt) } as TaskGroup;
}

export interface Task {
  readonly _id: string;
  readonly taskGroupId: string | null;
  readonly channel: string;
  readonly workgroup: string | null;
  readonly key: string | null;
  readonly isComplete: boolean;
  readonly parentIds: readonly string[];
  readonly [field: string]: Json | readonly string[];
}

/** Returns one task with its errors; undefined if there is none. */
export async function findTask(ledger: Ledger, id: string): Promise<Task | undefined> {
  return (await findTasks(ledger, [id]))[0];
}

/** Returns those tasks that still exist, in the given order. */
export async function findTasks(ledger: Ledger, ids: readonly string[]): Promise<Task[]> {
  const shared = new SharedReads(ledger);
  return (await Promise.all(ids.map((id) => read(ledger, id, shared)))).filter((found) => found !== undefined);
}

/** State shared by several tasks, each read once. */
class SharedReads {
  readonly #ledger: Ledger;
  readonly #paused = new Map<string, Promise<boolean>>();
  readonly #held = new Map<string, Promise<number>>();

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  isPaused(group: string): Promise<boolean> {
    return once(this.#paused, group, async () => (await this.#ledger.getGroup(group))?.paused ?? false);
  }

  heldUntil(workgroup: string): Promise<number> {
    return once(this.#held, workgroup, async () => (await this.#ledger.getWorkgroup(workgroup))?.heldUntil ?? 0);
  }
}

function once<T>(known: Map<string, Promise<T>>, key: string, read: () => Promise<T>): Promise<T> {
  const before = known.get(key);
  if (before !== undefined) return before;
  const reading = read();
  known.set(key, reading);
  return reading;
}

async function read(ledger: Ledger, id: string, shared: SharedReads): Promise<Task | undefined> {
  const [job, history] = await Promise.all([ledger.get(id), ledger.history(id, 0, 500)]);
  if (job === undefined) return undefined;
  const [isPaused, heldUntil] = await Promise.all([
    job.group === undefined ? false : shared.isPaused(job.group),
    job.workgroup === undefined ? 0 : shared.heldUntil(job.workgroup),
  ]);
  const errors = history.filter(({ kind }) => kind === 'error').map(({ body }) => errorValue(body as unknown as JobError));
  return task(job, errors, isPaused, heldUntil);
}

function task(job: JobRecord, errors: Json[], isPaused: boolean, heldUntil: number): Task {
  const { state, attempts, settled } = job;
  const ended = state === 'completed' || state === 'failed' || state === 'cancelled';
  const isComplete = state === 'completed';
  const assigned = state === 'leased';
  const { retried, parentsComplete = false, ...asSent } = asSentOf(job.meta);
  // crew represents the hold of a workgroup as a start time of each of its tasks.
  const runAfter = isComplete ? 0 : Math.max(job.runAt ?? 0, heldUntil);
  return {
    _id: job.id,
    taskGroupId: job.group ?? null,
    name: job.name ?? null,
    channel: job.channel,
    workgroup: job.workgroup ?? null,
    key: job.key ?? null,
    remainingAttempts: ended ? retriedOf(retried, job) : Math.max(0, attempts.allowed - attempts.made),
    isPaused,
    parentsComplete: job.parents.length === 0 ? parentsComplete : state !== 'blocked',
    isComplete,
    priority: job.priority,
    runAfter: runAfter === 0 ? null : instant(runAfter),
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
    ...asSent,
  };
}

/** crew reports attempts for a completed task that it never uses; they belong to that particular completion only. */
function retriedOf(retried: Json | undefined, { finishedAt }: JobRecord): number {
  const { attempts, end } = fieldsOf(retried);
  return typeof attempts === 'number' && end === finishedAt ? attempts : 0;
}

/** Error as the worker reported it, which in crew may be any JSON value. */
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
