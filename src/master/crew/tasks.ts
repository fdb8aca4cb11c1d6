import type { FastifyInstance } from 'fastify';
import type { JobRecord } from '../../ledger/ledger.js';
import type { CrewContext } from './context.js';
import { attemptsOf, taskChanges } from './inputs.js';
import { objectId } from './object-id.js';
import { notFound, unknownTask } from './refusal.js';
import { type CrewRoute, crewRoute } from './route.js';
import { findTask, type Task } from './views.js';

export function taskRoutes(app: FastifyInstance, { desk }: CrewContext): void {
  const { ledger, clock } = desk;
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
  /** Sets how many attempts are left, of a task that has none left too. */
  const allow = async ({ id, state }: JobRecord, attemptsLeft: number) => {
    if (state === 'completed') return;
    if (state === 'failed' || state === 'cancelled') await ledger.retry([id], clock.now());
    await ledger.change(id, { attemptsLeft }, clock.now());
  };

  app.get<ById>('/api/v1/task/:id', crewRoute('read'), async ({ params: { id } }) => {
    const task = await findTask(ledger, id);
    if (task === undefined) throw notFound('Task', id);
    return task;
  });
  app.put<ById>('/api/v1/task/:id', work, async ({ params: { id }, body }) => {
    const job = await known(id);
    const { attemptsLeft, ...changes } = taskChanges(body, clock.wall());
    if (attemptsLeft !== undefined && attemptsLeft > 0) await allow(job, attemptsLeft);
    if (Object.keys(changes).length > 0) await ledger.change(id, changes, clock.now());
    if (attemptsLeft === 0 && job.state !== 'failed') await ledger.change(id, { attemptsLeft }, clock.now());
    return shown(id);
  });
  app.delete<ById>('/api/v1/task/:id', work, async ({ params: { id } }) => {
    await known(id);
    await ledger.delete([id], clock.now());
    return { acknowledged: true, deletedCount: 1 };
  });
  app.post<ById>('/api/v1/task/:id/reset', work, async ({ params: { id }, body }) => {
    await known(id);
    await ledger.reset([id], clock.now(), { attempts: attemptsOf(body) });
    return shown(id);
  });
  app.post<ById>('/api/v1/task/:id/retry', work, async ({ params: { id }, body }) => {
    await allow(await known(id), attemptsOf(body));
    return shown(id);
  });
  app.post<ById>('/api/v1/task/:id/pluck', work, async ({ params: { id } }) => {
    const { channel, data, name, workgroup, key, priority, weight, seed, backoffMs } = await known(id);
    const group = objectId(clock.wall());
    await ledger.putGroup({ id: group, name: `Pluck Task ${id}`, paused: true, parentFailure: 'wait' }, clock.now());
    const copy = {
      ...{ id: objectId(clock.wall()), group, channel, data, priority, weight, seed, backoffMs },
      ...({ backoff: 'fixed', attempts: 5, parentFailure: 'wait' } as const),
      ...(name !== undefined && { name }),
      ...(workgroup !== undefined && { workgroup }),
      ...(key !== undefined && { key }),
    };
    await desk.push([copy]);
    return shown(copy.id);
  });

  // Who is to run a task is told by itself here: there is nothing to examine or to execute.
  for (const verb of ['examine', 'execute'])
    app.post<ById>(`/api/v1/task/:id/${verb}`, work, async ({ params: { id } }) =>
      (await ledger.get(id)) === undefined ? { task: null } : { success: true },
    );
}
