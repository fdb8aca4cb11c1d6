import type { FastifyInstance } from 'fastify';
import type { CancelledJob, GroupInput, GroupRecord } from '../../ledger/ledger.js';
import type { ApiContext } from './context.js';
import { about, idParams, integerBetween, known, list, object, ref, text, type WithId } from './route.js';

const TAG = 'groups';

/** Adds `/v1/groups`. */
export function groupRoutes(app: FastifyInstance, { service }: ApiContext): void {
  const { ledger, clock } = service;
  const record = async (id: string): Promise<GroupRecord> => known(await ledger.getGroup(id), 'group-unknown', id);
  const response = { params: idParams, response: ref('GroupRecord') };

  app.get<{ Querystring: { after?: string; limit?: number } }>(
    '/v1/groups',
    about('read', TAG, 'Groups, page by page', {
      query: { after: text, limit: integerBetween(1, 500) },
      response: object({ groups: list(ref('GroupRecord')), next: text }, ['next']),
    }),
    ({ query: { after, limit = 50 } }) => ledger.listGroups({ limit, ...(after === undefined ? {} : { after }) }),
  );
  app.get<WithId>('/v1/groups/:id', about('read', TAG, 'One group', response), ({ params }) => record(params.id));
  app.put<WithId & { Body: Omit<GroupInput, 'id'> }>(
    '/v1/groups/:id',
    about('work', TAG, 'Make a group, or change it', { ...response, body: ref('GroupInput') }),
    ({ params: { id }, body }) => ledger.putGroup({ ...body, id }, clock.now()),
  );
  app.delete<WithId>(
    '/v1/groups/:id',
    about('admin', TAG, 'Delete a group with its jobs', { params: idParams, response: object({ cancelled: list(text) }) }),
    async ({ params: { id } }) => ({ cancelled: idsOf(known(await ledger.deleteGroup(id, clock.now()), 'group-unknown', id)) }),
  );
  app.get<WithId & { Querystring: { limit?: number } }>(
    '/v1/groups/:id/graph',
    about('read', TAG, 'The jobs of a group as a graph', {
      params: idParams,
      query: { limit: integerBetween(1, 10_000) },
      response: ref('GroupGraph'),
    }),
    async ({ params: { id }, query: { limit = 2_000 } }) => known(await ledger.graphOf(id, limit), 'group-unknown', id),
  );

  const verbs = {
    pause: ['work', 'No job of the group starts any more', async (id: string) => (await ledger.pauseGroup(id)) || undefined],
    resume: ['work', 'Jobs of the group start again', async (id: string) => (await ledger.resumeGroup(id)) || undefined],
    retry: ['work', 'Failed jobs of the group wait again', (id: string) => ledger.retryGroup(id, clock.now())],
    reset: ['admin', 'Reset a group', (id: string) => ledger.resetGroup(id, clock.now())],
    cancel: ['work', 'Cancel all of the group that has not ended', (id: string) => ledger.cancelGroup(id, clock.now())],
  } as const;
  for (const [verb, [scope, summary, act]] of Object.entries(verbs))
    app.post<WithId>(`/v1/groups/:id/${verb}`, about(scope, TAG, summary, response), async ({ params: { id } }) => {
      known(await (act as (id: string) => Promise<unknown>)(id), 'group-unknown', id);
      return record(id);
    });
}

function idsOf(jobs: readonly CancelledJob[]): string[] {
  return jobs.map(({ id }) => id);
}
