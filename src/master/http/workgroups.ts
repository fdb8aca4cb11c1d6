import type { FastifyInstance } from 'fastify';
import { MAX_DELAY_MS } from '../../job/limits.js';
import type { WorkgroupInput } from '../../ledger/ledger.js';
import type { ApiContext } from './context.js';
import { about, exactly, idParams, integerBetween, known, list, object, ref, text, type WithId } from './route.js';

const TAG = 'workgroups';

/** Adds `/v1/workgroups`. */
export function workgroupRoutes(app: FastifyInstance, { service }: ApiContext): void {
  const { ledger, clock } = service;
  const response = { params: idParams, response: ref('WorkgroupRecord') };

  app.get<{ Querystring: { after?: string; limit?: number } }>(
    '/v1/workgroups',
    about('read', TAG, 'Workgroups, page by page', {
      query: { after: text, limit: integerBetween(1, 500) },
      response: object({ workgroups: list(ref('WorkgroupRecord')), next: text }, ['next']),
    }),
    ({ query: { after, limit = 50 } }) => ledger.listWorkgroups({ limit, ...(after === undefined ? {} : { after }) }),
  );
  app.get<WithId>('/v1/workgroups/:id', about('read', TAG, 'One workgroup', response), async ({ params: { id } }) =>
    known(await ledger.getWorkgroup(id), 'workgroup-unknown', id),
  );
  app.put<WithId & { Body: Omit<WorkgroupInput, 'id'> }>(
    '/v1/workgroups/:id',
    about('work', TAG, 'Make a workgroup, or change its limits', { ...response, body: ref('WorkgroupInput') }),
    ({ params: { id }, body }) => ledger.putWorkgroup({ ...body, id }, clock.now()),
  );
  app.post<WithId & { Body: { ms: number } }>(
    '/v1/workgroups/:id/hold',
    about('work', TAG, 'Hold a workgroup: none of its jobs starts for this long', {
      ...response,
      body: exactly({ ms: integerBetween(0, MAX_DELAY_MS) }, ['ms']),
    }),
    ({ params: { id }, body: { ms } }) => ledger.holdWorkgroup(id, clock.now() + ms, clock.now()),
  );
  app.post<WithId>('/v1/workgroups/:id/release', about('work', TAG, 'End a hold', response), async ({ params: { id } }) =>
    known(await ledger.releaseWorkgroup(id, clock.now()), 'workgroup-unknown', id),
  );
}
