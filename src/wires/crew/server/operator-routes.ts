import type { FastifyInstance } from 'fastify';
import type { Json } from '../../../job/job.js';
import { isFields } from '../fields.js';
import type { CrewContext } from './context.js';
import type { Sent } from './inputs.js';
import { isObjectId, objectId } from './object-id.js';
import type { Operator } from './operators.js';
import { notFound, refuse, unknown } from './refusal.js';
import { type CrewRoute, crewRoute, pageOf } from './route.js';

/** Registers the routes that list, create, change and delete operators. */
export function operatorRoutes(app: FastifyInstance, { service, operators, live }: CrewContext): void {
  const read = crewRoute('read');
  const admin = crewRoute('admin');
  type ById = CrewRoute<{ id: string }>;

  app.get<CrewRoute>('/api/v1/operators', read, async ({ query }) => {
    const { limit, skip } = pageOf(query, 50);
    return (await operators.list()).slice(skip, skip + limit);
  });
  app.get('/api/v1/operators/count', read, async () => ({ count: (await operators.list()).length }));
  app.post<CrewRoute>('/api/v1/operators', admin, async ({ body }) => {
    const now = service.clock.wall();
    const created: Operator = { _id: objectId(now), ...fields(body, undefined), createdAt: new Date(now).toISOString() };
    await operators.change((list) => list.unshift(created));
    live.operators('operator:create', created);
    return created;
  });
  app.get<ById>('/api/v1/operator/:id', read, async ({ params: { id } }) => {
    const found = (await operators.list()).find(({ _id }) => _id === id);
    if (found === undefined) throw notFound('Operator', id);
    return found;
  });
  app.put<ById>('/api/v1/operator/:id', admin, async ({ params: { id }, body }) => {
    const changed = await operators.change((list) => {
      const at = list.findIndex(({ _id }) => _id === id);
      const before = list[at];
      if (before === undefined) throw unknown('operator', id);
      const after: Operator = { ...before, ...fields(body, before) };
      list[at] = after;
      return after;
    });
    live.operators('operator:update', changed);
    return changed;
  });
  app.delete<ById>('/api/v1/operator/:id', admin, async ({ params: { id } }) => {
    const deleted = await operators.change((list) => {
      const at = list.findIndex(({ _id }) => _id === id);
      if (at === -1 && !isObjectId(id)) throw unknown('operator', id);
      return at === -1 ? undefined : list.splice(at, 1)[0];
    });
    if (deleted !== undefined) live.operators('operator:delete', deleted);
    return { acknowledged: true, deletedCount: deleted === undefined ? 0 : 1 };
  });
}

function fields(sent: Sent, before: Operator | undefined): Pick<Operator, 'channel' | 'url' | 'requestConfig' | 'isPaused'> {
  const url = String(sent['url'] ?? before?.url ?? '');
  if (!/^https?:$/.test(URL.canParse(url) ? new URL(url).protocol : '')) throw refuse('url is no http address!');
  return {
    channel: String(sent['channel'] ?? before?.channel ?? ''),
    url,
    requestConfig: isFields(sent['requestConfig']) ? (sent['requestConfig'] as Json) : (before?.requestConfig ?? null),
    isPaused: 'isPaused' in sent ? Boolean(sent['isPaused']) : (before?.isPaused ?? null),
  };
}
