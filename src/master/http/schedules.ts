import type { FastifyInstance } from 'fastify';
import { PeerworkError } from '../../errors.js';
import { MAX_MESSAGE_BYTES } from '../../job/limits.js';
import type { ScheduleInput } from '../../ledger/ledger.js';
import type { ApiContext } from './context.js';
import { about, idParams, known, list, object, ref, type WithId } from './route.js';

const TAG = 'schedules';

/** Adds `/v1/schedules`. */
export function scheduleRoutes(app: FastifyInstance, { service }: ApiContext): void {
  const { ledger, clock } = service;
  const response = { params: idParams, response: ref('ScheduleRecord') };

  app.get(
    '/v1/schedules',
    about('read', TAG, 'All schedules', { response: object({ schedules: list(ref('ScheduleRecord')) }) }),
    async () => ({
      schedules: await ledger.listSchedules(),
    }),
  );
  app.get<WithId>('/v1/schedules/:id', about('read', TAG, 'One schedule', response), async ({ params: { id } }) =>
    known(await ledger.getSchedule(id), 'schedule-unknown', id),
  );
  app.put<WithId & { Body: Omit<ScheduleInput, 'id'> }>(
    '/v1/schedules/:id',
    about('admin', TAG, 'Make a schedule, or replace it', { ...response, body: ref('ScheduleInput'), bodyLimit: MAX_MESSAGE_BYTES }),
    ({ params: { id }, body }) => ledger.putSchedule({ ...body, id }, clock.now()),
  );
  app.delete<WithId>(
    '/v1/schedules/:id',
    about('admin', TAG, 'Delete a schedule', { params: idParams }),
    async ({ params: { id } }, reply) => {
      if (!(await ledger.deleteSchedule(id))) throw new PeerworkError('schedule-unknown', id);
      return reply.code(204).send();
    },
  );
  for (const [verb, paused] of [
    ['pause', true],
    ['resume', false],
  ] as const)
    app.post<WithId>(
      `/v1/schedules/:id/${verb}`,
      about('admin', TAG, `${paused ? 'Pause' : 'Resume'} a schedule`, response),
      async ({ params: { id } }) => known(await ledger.pauseSchedule(id, paused, clock.now()), 'schedule-unknown', id),
    );
}
