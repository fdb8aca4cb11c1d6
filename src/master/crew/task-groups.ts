import type { FastifyInstance } from 'fastify';
import type { Json } from '../../job/job.js';
import type { GroupRecord, JobFilter, Ledger } from '../../ledger/ledger.js';
import type { CrewContext } from './context.js';
import { attemptsOf, taskInput } from './inputs.js';
import { objectId } from './object-id.js';
import { notFound, refuse } from './refusal.js';
import { type CrewRoute, crewRoute, pageOf } from './route.js';
import { findTask, findTasks, type Task, taskGroup } from './views.js';

const PAGE = 500;

export function taskGroupRoutes(app: FastifyInstance, { desk, live }: CrewContext): void {
  const { ledger, clock } = desk;
  const read = crewRoute('read');
  const work = crewRoute('work');
  type ById = CrewRoute<{ id: string }>;
  const known = async (id: string): Promise<GroupRecord> => {
    const group = await ledger.getGroup(id);
    if (group === undefined) throw refuse(`Unable to find task group ${id}!`);
    return group;
  };

  app.get<CrewRoute>('/api/v1/task_groups', read, async ({ query }) => {
    const { limit, skip } = pageOf(query, 50);
    return (await allGroups(ledger)).slice(skip, skip + limit).map(taskGroup);
  });
  app.get('/api/v1/task_groups/count', read, async () => ({ count: (await allGroups(ledger)).length }));
  app.post<CrewRoute>('/api/v1/task_groups', work, async ({ body }) => {
    const { name, isPaused } = body;
    const id = objectId(clock.wall());
    const group = { id, paused: Boolean(isPaused), parentFailure: 'wait', ...(name ? { name: String(name) } : {}) } as const;
    const made = taskGroup(await ledger.putGroup(group, clock.now()));
    live.group(id, 'group:create', made);
    return made;
  });

  app.get<ById>('/api/v1/task_group/:id', read, async ({ params: { id } }) => {
    const group = await ledger.getGroup(id);
    if (group === undefined) throw notFound('TaskGroup', id);
    return taskGroup(group);
  });
  app.put<ById>('/api/v1/task_group/:id', work, async ({ params: { id }, body }) => {
    const { meta } = await known(id);
    const { name, isPaused: _paused, createdAt: _created, _id, ...extra } = body;
    const before = typeof meta === 'object' && meta !== null && !Array.isArray(meta) ? meta : {};
    const changed = await ledger.putGroup(
      { id, ...(name ? { name: String(name) } : {}), ...(Object.keys(extra).length > 0 && { meta: { ...before, ...extra } as Json }) },
      clock.now(),
    );
    return taskGroup(changed);
  });
  app.delete<ById>('/api/v1/task_group/:id', work, async ({ params: { id } }) => {
    const group = await ledger.getGroup(id);
    const deleted = group !== undefined && (await ledger.deleteGroup(id, clock.now())) !== undefined;
    if (deleted) live.group(id, 'group:delete', taskGroup(group));
    return { acknowledged: true, deletedCount: deleted ? 1 : 0 };
  });

  app.get<ById>('/api/v1/task_group/:id/tasks', read, async ({ params: { id }, query }) =>
    tasksOf(ledger, { group: id }, pageOf(query, -1)),
  );
  app.post<ById>('/api/v1/task_group/:id/tasks', work, async ({ params: { id }, body }) => {
    await known(id);
    const input = taskInput(body, id, clock.wall());
    await desk.push([input]);
    const task = await findTask(ledger, input.id ?? '');
    if (task === undefined) throw refuse('Unable to find task!');
    return task;
  });
  app.post<ById>('/api/v1/task_group/:id/reset', work, async ({ params: { id } }) => {
    if ((await ledger.resetGroup(id, clock.now())) === undefined) await known(id);
    live.group(id, 'group:reset', null);
    return taskGroup(await known(id));
  });
  app.post<ById>('/api/v1/task_group/:id/retry', work, async ({ params: { id }, body }) => {
    const group = await ledger.getGroup(id);
    if (group === undefined) return null;
    const attemptsLeft = attemptsOf(body);
    for (;;) {
      const { jobs } = await ledger.list({ group: id, state: 'failed' }, { limit: PAGE }, clock.now());
      if (jobs.length === 0) break;
      const retried = await ledger.retry(
        jobs.map((job) => job.id),
        clock.now(),
      );
      await Promise.all(retried.map((job) => ledger.change(job, { attemptsLeft }, clock.now())));
      if (retried.length === 0) break;
    }
    live.group(id, 'group:retry', null);
    return taskGroup(group);
  });
  for (const [verb, isPaused] of [
    ['pause', true],
    ['resume', false],
  ] as const)
    app.post<ById>(`/api/v1/task_group/:id/${verb}`, work, async ({ params: { id } }) => {
      const done = isPaused ? await ledger.pauseGroup(id, clock.now()) : await ledger.resumeGroup(id, clock.now());
      if (done) live.group(id, 'group:syncPause', { isPaused });
      return taskGroup(await known(id));
    });

  app.get<CrewRoute<{ channel: string }>>('/api/v1/channel/:channel/tasks', read, async ({ params: { channel }, query }) =>
    tasksOf(ledger, { channel }, pageOf(query, 50)),
  );
  app.get('/api/v1/channels', read, async () =>
    (await ledger.channels()).map(({ name, counts }) => ({
      name,
      totalCount: Object.values(counts).reduce((sum, jobs) => sum + jobs, 0),
      completedCount: counts.completed,
      assignedCount: counts.leased,
    })),
  );
}

/** The newest first. */
export async function allGroups(ledger: Ledger): Promise<GroupRecord[]> {
  const groups: GroupRecord[] = [];
  let after: string | undefined;
  do {
    const page = await ledger.listGroups({ limit: PAGE, ...(after !== undefined && { after }) });
    groups.push(...page.groups);
    after = page.next;
  } while (after !== undefined);
  return groups.sort((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1));
}

async function tasksOf(
  ledger: Ledger,
  filter: JobFilter,
  { limit, skip }: { readonly limit: number; readonly skip: number },
): Promise<Task[]> {
  const ids: string[] = [];
  let after: string | undefined;
  do {
    const page = await ledger.list(filter, { limit: PAGE, ...(after !== undefined && { after }) }, 0);
    ids.push(...page.jobs.map(({ id }) => id));
    after = page.next;
  } while (after !== undefined && ids.length < skip + limit);
  return findTasks(ledger, ids.slice(skip, skip + limit));
}
