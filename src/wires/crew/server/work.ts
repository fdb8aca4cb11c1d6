import type { FastifyInstance } from 'fastify';
import { PeerworkError } from '../../../errors.js';
import type { Outcome } from '../../../job/job.js';
import { MAX_HOLD_MS } from '../../../job/limits.js';
import { checkChildren } from '../../../ledger/children.js';
import type { LeasedJob, WorkerRef } from '../../../ledger/ledger.js';
import { DEFAULT_ABANDONED_SECONDS } from '../defaults.js';
import { isFields } from '../fields.js';
import type { CrewContext } from './context.js';
import { childInputs, delayMs, type Sent } from './inputs.js';
import { isObjectId } from './object-id.js';
import { refuse, unknownTask } from './refusal.js';
import { type CrewRoute, crewRoute } from './route.js';
import { findTask, findTasks, type ParentData, parentData, type Task, WORKER_PREFIX } from './views.js';

/** Larger families are not reported here; the ledger's change feed reports each child a little later. */
const MAX_REPORTED_CHILDREN = 500;

/** Registers acquire and release, the two routes that crew's polling workers depend on. */
export function workRoutes(app: FastifyInstance, context: CrewContext): void {
  const { service, gate, options } = context;
  const leaseMs = (options.abandonedSeconds ?? DEFAULT_ABANDONED_SECONDS) * 1_000;

  app.post<CrewRoute<{ channel: string }>>('/api/v1/channel/:channel/acquire', crewRoute('work'), async (request) => {
    const { channel } = request.params;
    const worker = workerOf(request.body, gate.holderOf(request.raw));
    service.rates.take(worker.id, 'calls', 1, service.clock.now());
    const [job] = await service.lease({ worker, channels: [channel], limit: 1, waitMs: 0, leaseMs });
    if (job === undefined) return { task: null };
    const { task, parents } = await acquired(context, job);
    return { task: { ...task, parents }, parents };
  });

  app.post<CrewRoute<{ id: string }>>('/api/v1/task/:id/release', crewRoute('work'), async (request) => {
    const { body } = request;
    const { id } = request.params;
    const worker = workerOf(body, gate.holderOf(request.raw));
    const before = await service.ledger.get(id);
    if (before === undefined) throw isObjectId(id) ? refuse('Unable to find task!') : unknownTask(id);
    // A repeated release, possibly of another worker's: the task is completed already.
    if (before.state === 'completed') return knownTask(context, id);
    if (before.state !== 'leased' || before.worker?.id !== worker.id) throw refuse('Worker id did not match!');
    return release(context, worker, before, body);
  });
}

async function knownTask({ service }: Pick<CrewContext, 'service'>, id: string): Promise<Task> {
  const task = await findTask(service.ledger, id);
  if (task === undefined) throw unknownTask(id);
  return task;
}

/** Returns the task of a lease that was just granted, with its parents, and reports the assignment. */
export async function acquired(
  context: Pick<CrewContext, 'service' | 'live'>,
  job: LeasedJob,
): Promise<{ readonly task: Task; readonly parents: ParentData[] }> {
  const { live } = context;
  const task = await knownTask(context, job.id);
  const { assignedTo = null, assignedAt = null, key, channel } = task;
  if (key !== null) live.group(task.taskGroupId, 'task:acquire:key', { channel, key, update: { assignedTo, assignedAt } });
  live.task('task:update', task);
  return { task, parents: (job.parents ?? []).map(parentData) };
}

export interface ReleasedJob {
  readonly id: string;
  readonly lease: number;
  readonly group?: string;
  readonly key?: string;
  readonly channel: string;
  readonly workgroup?: string;
}

/** Settles a run with the body its worker sent, and reports it in crew's order. */
export async function release(
  context: Pick<CrewContext, 'service' | 'live'>,
  worker: WorkerRef,
  job: ReleasedJob,
  sent: Sent,
): Promise<Task> {
  const { service, live } = context;
  const now = service.clock.wall();
  const outcome = outcomeOf(sent, now);
  // As in crew, and within the scope `work`: children may be in any channel.
  const [result] = await service.settle(worker, [{ id: job.id, lease: job.lease, outcome, startedAt: now, finishedAt: now }], 'any');
  if (result === 'stale') throw refuse('Worker id did not match!');
  const task = await knownTask(context, job.id);
  if (!live.isWatched(job.group)) return task;
  const children = outcome.state === 'completed' ? (outcome.children ?? []) : [];
  const created =
    children.length > MAX_REPORTED_CHILDREN
      ? []
      : await findTasks(
          service.ledger,
          children.map(({ id = '' }) => id),
        );
  // At this point crew has not examined their parents yet.
  for (const child of created)
    live.task('task:create', { ...child, parentsComplete: child.parentIds.length === 0, assignedTo: null, assignedAt: null }, child);
  if (job.key !== undefined)
    live.group(job.group, 'task:release:key', { channel: job.channel, key: job.key, update: keyUpdate(sent, task, now) });
  if (outcome.state === 'completed') for (const child of await unblocked(context, job.id)) live.task('task:update', child);
  if (job.workgroup !== undefined && outcome.holdMs !== undefined)
    live.group(job.group, 'workgroup:delay', {
      workgroup: job.workgroup,
      update: { runAfter: new Date(now + outcome.holdMs).toISOString() },
    });
  live.task('task:update', task);
  return task;
}

/** State to which crew resets all tasks with the same key. */
function keyUpdate({ error }: Sent, { isComplete, ...task }: Task, now: number): object {
  const nobody = { assignedTo: null, assignedAt: null, isComplete, remainingAttempts: task['remainingAttempts'] };
  if (isComplete) return { ...nobody, output: task['output'], runAfter: null };
  const runAfter = new Date(now + Number(task['errorDelayInSeconds']) * 1_000).toISOString();
  return { ...nobody, executeMessageId: null, examineMessageId: null, error, runAfter };
}

/** Returns the children that no longer wait for any parent. */
async function unblocked({ service }: Pick<CrewContext, 'service'>, parent: string): Promise<Task[]> {
  const { children = [] } = (await service.ledger.get(parent)) ?? {};
  const tasks = children.length > MAX_REPORTED_CHILDREN ? [] : await findTasks(service.ledger, children);
  return tasks.filter(({ parentsComplete }) => parentsComplete === true);
}

/** Throws, before anything is settled, if the children cannot be created. */
function outcomeOf(sent: Sent, now: number): Exclude<Outcome, { state: 'released' }> {
  const { error, output, children } = sent;
  const hold = delayMs(sent, 'workgroupDelayInSeconds', MAX_HOLD_MS);
  const holdMs = hold > 0 ? hold : undefined;
  if (error) {
    const message = typeof error === 'string' ? error : JSON.stringify(error);
    return { state: 'failed', error: { code: 'task-threw', message }, retry: true, holdMs };
  }
  const childrenDelayMs = delayMs(sent, 'childrenDelayInSeconds', MAX_HOLD_MS);
  const inputs = childInputs(children, childrenDelayMs, now);
  checkChildren(inputs, now);
  return {
    state: 'completed',
    output: (output as never) || null,
    ...(inputs.length > 0 && { children: inputs }),
    ...(childrenDelayMs > 0 && { childrenDelayMs }),
    holdMs,
  };
}

/** Includes the holder of the token in the worker's id, so that a client with another token cannot impersonate a worker by its name. */
function workerOf(body: unknown, holder: string | undefined): WorkerRef {
  const id = isFields(body) ? body['workerId'] : undefined;
  if (!id) throw refuse('workerId is required!');
  const name = String(id).slice(0, 200);
  if (/[\p{Cc}]/u.test(name)) throw new PeerworkError('request-invalid', 'workerId holds control characters');
  return { id: holder === undefined ? `${WORKER_PREFIX}${name}` : `crew-${holder}:${name}`, name: name.slice(0, 64) };
}
