import type { FastifyInstance } from 'fastify';
import { PeerworkError } from '../../errors.js';
import type { Outcome } from '../../job/job.js';
import { MAX_HOLD_MS } from '../../job/limits.js';
import { checkChildren } from '../../ledger/children.js';
import type { LeasedJob, WorkerRef } from '../../ledger/ledger.js';
import type { CrewContext } from './context.js';
import { childInputs, delayMs, isSent, type Sent } from './inputs.js';
import { refuse, unknownTask } from './refusal.js';
import { type CrewRoute, crewRoute } from './route.js';
import { findTask, type ParentData, parentData, type Task, WORKER_PREFIX } from './views.js';

const DEFAULT_ABANDONED_SECONDS = 60;

/** Acquire and release: what crew's polling workers live by. */
export function workRoutes(app: FastifyInstance, context: CrewContext): void {
  const { desk, gate, options, live } = context;
  const leaseMs = (options.abandonedSeconds ?? DEFAULT_ABANDONED_SECONDS) * 1_000;

  app.post<CrewRoute<{ channel: string }>>('/api/v1/channel/:channel/acquire', crewRoute('work'), async (request) => {
    const { channel } = request.params;
    const worker = workerOf(request.body, gate.holderOf(request.raw));
    desk.rates.take(worker.id, 'calls', 1, desk.clock.now());
    const [job] = await desk.lease({ worker, channels: [channel], limit: 1, waitMs: 0, leaseMs });
    if (job === undefined) return { task: null };
    const { task, parents } = await acquired(context, job);
    return { task: { ...task, parents }, parents };
  });

  app.post<CrewRoute<{ id: string }>>('/api/v1/task/:id/release', crewRoute('work'), async (request) => {
    const { body } = request;
    const { id } = request.params;
    const worker = workerOf(body, gate.holderOf(request.raw));
    const before = await desk.ledger.get(id);
    if (before === undefined) throw refuse('Unable to find task!');
    // Told again: it was released already, by whomever.
    if (before.state !== 'completed') {
      if (before.state !== 'leased' || before.worker?.id !== worker.id) throw refuse('Worker id did not match!');
      await release(context, worker, before, body as Sent);
    }
    const task = await findTask(desk.ledger, id);
    if (task === undefined) throw unknownTask(id);
    live.task('task:update', task);
    return task;
  });
}

/** The task of a lease that was just given, and what is to be told of it. */
export async function acquired(
  { desk, live }: Pick<CrewContext, 'desk' | 'live'>,
  job: LeasedJob,
): Promise<{ readonly task: Task; readonly parents: ParentData[] }> {
  const task = await findTask(desk.ledger, job.id);
  if (task === undefined) throw unknownTask(job.id);
  const { assignedTo = null, assignedAt = null, key, channel } = task;
  if (key !== null) live.group(task.taskGroupId, 'task:acquire:key', { channel, key, update: { assignedTo, assignedAt } });
  return { task, parents: (job.parents ?? []).map(parentData) };
}

/** Settles a run with what its worker sent. */
export async function release(
  { desk, live }: Pick<CrewContext, 'desk' | 'live'>,
  worker: WorkerRef,
  job: {
    readonly id: string;
    readonly lease: number;
    readonly group?: string;
    readonly key?: string;
    readonly channel: string;
    readonly workgroup?: string;
  },
  sent: Sent,
): Promise<void> {
  const now = desk.clock.wall();
  const outcome = outcomeOf(sent, now);
  // As in crew, and as its scope `work` may: children of any channel.
  const [answer] = await desk.settle(worker, [{ id: job.id, lease: job.lease, outcome, startedAt: now, finishedAt: now }], 'any');
  if (answer === 'stale') throw refuse('Worker id did not match!');
  const group = job.group ?? null;
  if (job.key !== undefined) {
    const { error } = sent;
    const after = await findTask(desk.ledger, job.id);
    const update = {
      assignedTo: null,
      assignedAt: null,
      remainingAttempts: after?.['remainingAttempts'] ?? 0,
      isComplete: outcome.state === 'completed',
      runAfter: after?.['runAfter'] ?? null,
      ...(outcome.state === 'completed' ? { output: after?.['output'] ?? null } : { error }),
    };
    live.group(group, 'task:release:key', { channel: job.channel, key: job.key, update });
  }
  if (job.workgroup !== undefined && outcome.holdMs !== undefined)
    live.group(group, 'workgroup:delay', { workgroup: job.workgroup, update: { runAfter: new Date(now + outcome.holdMs).toISOString() } });
}

/** Throws before anything is settled if its children cannot be created. */
function outcomeOf(sent: Sent, now: number): Exclude<Outcome, { state: 'released' }> {
  const { error, output, children } = sent;
  const hold = delayMs(sent, 'workgroupDelayInSeconds', MAX_HOLD_MS);
  const holdMs = hold > 0 ? hold : undefined;
  if (error) {
    const message = typeof error === 'string' ? error : JSON.stringify(error);
    return { state: 'failed', error: { code: 'task-threw', message }, retry: true, holdMs };
  }
  const childrenDelayMs = delayMs(sent, 'childrenDelayInSeconds', MAX_HOLD_MS);
  const inputs = childInputs(Array.isArray(children) ? children : [], childrenDelayMs, now);
  checkChildren(inputs, now);
  return {
    state: 'completed',
    output: (output as never) || null,
    ...(inputs.length > 0 && { children: inputs }),
    ...(childrenDelayMs > 0 && { childrenDelayMs }),
    holdMs,
  };
}

/** Whoever shows another token is another worker, whatever it calls itself. */
function workerOf(body: unknown, holder: string | undefined): WorkerRef {
  const id = isSent(body) ? body['workerId'] : undefined;
  if (!id) throw refuse('workerId is required!');
  const name = String(id).slice(0, 200);
  if (/[\p{Cc}]/u.test(name)) throw new PeerworkError('request-invalid', 'workerId holds control characters');
  return { id: holder === undefined ? `${WORKER_PREFIX}${name}` : `crew-${holder}:${name}`, name: name.slice(0, 64) };
}
