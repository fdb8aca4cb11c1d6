import type { FastifyInstance } from 'fastify';
import type { JobRecord } from '../../../ledger/ledger.js';
import { asSentOf, withAsSent } from './as-sent.js';
import type { CrewContext } from './context.js';
import { attemptsOf, taskChanges } from './inputs.js';
import { objectId } from './object-id.js';
import { notFound, unknownTask } from './refusal.js';
import { type CrewRoute, crewRoute } from './route.js';
import { findTask, findTasks, type Task, taskGroup } from './views.js';

/** Limit for the descendants of a deleted task whose deletion is reported. */
const MAX_DESCENDANTS = 10_000;

/** Registers the routes of single tasks. */
export function taskRoutes(app: FastifyInstance, { service, live }: CrewContext): void {
  const { ledger, clock } = service;
  const work = crewRoute('work');
  type ById = CrewRoute<{ id: string }>;
  const known = async (id: string): Promise<JobRecord> => {
    const job = await ledger.get(id);
    if (job === undefined) throw unknownTask(id);
    return job;
  };
  const shown = async (id: string): Promise<Task> => {
    const task = await findTask(ledger, id);
    if (task === undefined) throw unknownTask(id);
    return task;
  };
  const updated = async (id: string): Promise<Task> => {
    const task = await shown(id);
    live.task('task:update', task);
    return task;
  };
  /** Sets the remaining attempts, also of a task that has none left. For a completed task crew reports the number but it has no effect. */
  const setAttempts = async ({ id, state, meta, finishedAt = 0 }: JobRecord, attemptsLeft: number) => {
    if (state === 'completed') {
      const retried = { attempts: attemptsLeft, end: finishedAt };
      await ledger.change(id, { meta: withAsSent(meta, { retried }) }, clock.now(), { ended: true });
      return;
    }
    if (state === 'failed' || state === 'cancelled') await ledger.retry([id], clock.now());
    await ledger.change(id, { attemptsLeft }, clock.now());
  };
  /** The task and its descendants in crew's order of deletion: descendants first. */
  const subtree = async (job: JobRecord, seen: Set<string>): Promise<string[]> => {
    seen.add(job.id);
    const before: string[] = [];
    for (const child of job.children) {
      const found = seen.has(child) || seen.size > MAX_DESCENDANTS ? undefined : await ledger.get(child);
      if (found !== undefined) before.push(...(await subtree(found, seen)));
    }
    return [...before, job.id];
  };

  app.get<ById>('/api/v1/task/:id', crewRoute('read'), async ({ params: { id } }) => {
    const task = await findTask(ledger, id);
    if (task === undefined) throw notFound('Task', id);
    return task;
  });
  app.put<ById>('/api/v1/task/:id', work, async ({ params: { id }, body }) => {
    const job = await known(id);
    const { attemptsLeft, ...changes } = taskChanges(body, clock.wall(), job);
    if (Object.keys(changes).length > 0) await ledger.change(id, changes, clock.now(), { ended: true });
    if (attemptsLeft !== undefined && (attemptsLeft > 0 || job.state === 'completed')) await setAttempts(await known(id), attemptsLeft);
    else if (attemptsLeft === 0 && job.state !== 'failed') await ledger.change(id, { attemptsLeft }, clock.now());
    return updated(id);
  });
  app.delete<ById>('/api/v1/task/:id', work, async ({ params: { id } }) => {
    const job = await known(id);
    const deleted = live.isWatched(job.group) ? await findTasks(ledger, await subtree(job, new Set())) : [];
    await ledger.delete([id], clock.now());
    for (const task of deleted) live.task('task:delete', task);
    return { acknowledged: true, deletedCount: 1 };
  });
  app.post<ById>('/api/v1/task/:id/reset', work, async ({ params: { id }, body }) => {
    await known(id);
    await ledger.reset([id], clock.now(), { attempts: attemptsOf(body) });
    return updated(id);
  });
  app.post<ById>('/api/v1/task/:id/retry', work, async ({ params: { id }, body }) => {
    await setAttempts(await known(id), attemptsOf(body));
    return updated(id);
  });
  app.post<ById>('/api/v1/task/:id/pluck', work, async ({ params: { id } }) => {
    const { channel, data, name, workgroup, key, priority, weight, seed, backoffMs, meta } = await known(id);
    const group = objectId(clock.wall());
    const created = await ledger.putGroup({ id: group, name: `Pluck Task ${id}`, paused: true, parentFailure: 'wait' }, clock.now());
    live.group(group, 'group:create', taskGroup(created));
    const { retried: _, parentsComplete: __, ...words } = asSentOf(meta);
    const copy = {
      ...{ id: objectId(clock.wall()), group, channel, data, priority, weight, seed, backoffMs },
      ...({ backoff: 'fixed', attempts: 5, parentFailure: 'wait' } as const),
      ...(name !== undefined && { name }),
      ...(workgroup !== undefined && { workgroup }),
      ...(key !== undefined && { key }),
      ...(Object.keys(words).length > 0 && { meta: withAsSent(undefined, words) }),
    };
    await service.push([copy]);
    return shown(copy.id);
  });

  // No-ops: tasks are dispatched without a separate examine or execute step.
  for (const verb of ['examine', 'execute'])
    app.post<ById>(`/api/v1/task/:id/${verb}`, work, async ({ params: { id } }) =>
      (await ledger.get(id)) === undefined ? { task: null } : { success: true },
    );
}
