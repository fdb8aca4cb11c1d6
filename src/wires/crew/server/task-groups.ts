import type { FastifyInstance } from 'fastify';
import type { Json } from '../../../job/job.js';
import type { GroupRecord, JobFilter, Ledger } from '../../../ledger/ledger.js';
import { fieldsOf, isName } from './as-sent.js';
import type { CrewContext } from './context.js';
import { attemptsOf, taskInput } from './inputs.js';
import { isObjectId, objectId } from './object-id.js';
import { notFound, refuse, unknownGroup } from './refusal.js';
import { type CrewRoute, crewRoute, pageOf } from './route.js';
import { findTask, findTasks, type Task, taskGroup } from './views.js';

const PAGE = 500;

/** Registers the routes of task groups, of their tasks, and of channels. */
export function taskGroupRoutes(app: FastifyInstance, { service, live }: CrewContext): void {
  const { ledger, clock } = service;
  const read = crewRoute('read');
  const work = crewRoute('work');
  type ById = CrewRoute<{ id: string }>;
  const known = async (id: string): Promise<GroupRecord> => {
    const group = await ledger.getGroup(id);
    if (group === undefined) throw unknownGroup(id);
    return group;
  };

  app.get<CrewRoute>('/api/v1/task_groups', read, async ({ query }) => {
    const { limit, skip } = pageOf(query, 50);
    return (await allGroups(ledger)).slice(skip, skip + limit).map(taskGroup);
  });
  app.get('/api/v1/task_groups/count', read, async () => ({ count: (await allGroups(ledger)).length }));
  app.post<CrewRoute>('/api/v1/task_groups', work, async ({ body }) => {
    const { name, isPaused = false } = body;
    if (typeof isPaused !== 'boolean')
      throw refuse(`isPaused: ${JSON.stringify(isPaused).slice(0, 60)} cannot be kept; it must be true or false`);
    const id = objectId(clock.wall());
    const group = { id, paused: isPaused, parentFailure: 'wait', ...named(name, {}) } as const;
    const created = await ledger.putGroup(group, clock.now());
    live.rememberGroup(id, created);
    live.group(id, 'group:create', taskGroup(created));
    return taskGroup(created);
  });

  app.get<ById>('/api/v1/task_group/:id', read, async ({ params: { id } }) => {
    const group = await ledger.getGroup(id);
    if (group === undefined) throw notFound('TaskGroup', id);
    return taskGroup(group);
  });
  app.put<ById>('/api/v1/task_group/:id', work, async ({ params: { id }, body }) => {
    const { meta } = await known(id);
    const { name, isPaused: _paused, createdAt: _created, _id, ...extra } = body;
    const others = { ...fieldsOf(meta), ...(extra as Record<string, Json>) };
    const changed = await ledger.putGroup({ id, meta: others, ...('name' in body && named(name, others)) }, clock.now());
    live.rememberGroup(id, changed);
    live.group(id, 'task_group:update', taskGroup(changed));
    return taskGroup(changed);
  });
  app.delete<ById>('/api/v1/task_group/:id', work, async ({ params: { id } }) => {
    const group = await ledger.getGroup(id);
    if (group === undefined && !isObjectId(id)) throw unknownGroup(id);
    const deleted = group !== undefined && (await live.suppressingTasks(id, () => ledger.deleteGroup(id, clock.now()))) !== undefined;
    if (deleted) {
      live.rememberGroup(id, undefined);
      live.group(id, 'group:delete', taskGroup(group));
    }
    return { acknowledged: true, deletedCount: deleted ? 1 : 0 };
  });

  app.get<ById>('/api/v1/task_group/:id/tasks', read, async ({ params: { id }, query }) => {
    if (!isObjectId(id)) await known(id);
    return tasksOf(ledger, { group: id }, pageOf(query, -1));
  });
  app.post<ById>('/api/v1/task_group/:id/tasks', work, async ({ params: { id }, body }) => {
    await known(id);
    const input = taskInput(body, id, clock.wall());
    await service.push([input]);
    const task = await findTask(ledger, input.id ?? '');
    if (task === undefined) throw refuse('Unable to find task!');
    // A worker may have claimed it by now, in which case it has been reported already.
    live.created(task);
    return task;
  });
  app.post<ById>('/api/v1/task_group/:id/reset', work, async ({ params: { id } }) => {
    await known(id);
    await live.suppressingTasks(id, () => ledger.resetGroup(id, clock.now()));
    live.group(id, 'group:reset', null);
    return taskGroup(await known(id));
  });
  app.post<ById>('/api/v1/task_group/:id/retry', work, async ({ params: { id }, body }) => {
    const group = await ledger.getGroup(id);
    if (group === undefined && !isObjectId(id)) throw unknownGroup(id);
    if (group === undefined) return null;
    const attemptsLeft = attemptsOf(body);
    await live.suppressingTasks(id, () => retryFailed(ledger, id, attemptsLeft, () => clock.now()));
    live.group(id, 'group:retry', null);
    return taskGroup(group);
  });
  for (const [verb, isPaused] of [
    ['pause', true],
    ['resume', false],
  ] as const)
    app.post<ById>(`/api/v1/task_group/:id/${verb}`, work, async ({ params: { id } }) => {
      await known(id);
      await live.suppressingTasks(id, () => (isPaused ? ledger.pauseGroup(id) : ledger.resumeGroup(id)));
      const group = await known(id);
      live.rememberGroup(id, group);
      live.group(id, 'group:syncPause', { isPaused });
      return taskGroup(group);
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

/** A name that the ledger does not accept is kept in `meta` as it was sent. */
function named(name: unknown, others: Readonly<Record<string, Json>>): { readonly name?: string; readonly meta?: Json } {
  const { name: _, ...meta } = others;
  if (isName(name)) return { name, meta };
  return { meta: { ...meta, ...(name !== undefined && { name: name as Json }) } };
}

/** Retries each failed job of the group once, even if it fails again meanwhile. */
async function retryFailed(ledger: Ledger, group: string, attemptsLeft: number, now: () => number): Promise<void> {
  let after: string | undefined;
  do {
    const { jobs, next } = await ledger.list({ group, state: 'failed' }, { limit: PAGE, ...(after !== undefined && { after }) }, now());
    const retried = await ledger.retry(
      jobs.map((job) => job.id),
      now(),
    );
    await Promise.all(retried.map((job) => ledger.change(job, { attemptsLeft }, now())));
    after = next;
  } while (after !== undefined);
}

/** Newest first. */
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
