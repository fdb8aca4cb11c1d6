import type { FastifyInstance } from 'fastify';
import { PeerworkError } from '../../errors.js';
import type { WorkerMarks, WorkerRecord } from '../../ledger/ledger.js';
import type { ConnectedWorker } from '../connected-worker.js';
import type { ApiContext } from './context.js';
import { about, idParams, list, object, ref, type WithId } from './route.js';

const TAG = 'workers';
/** Maximum number of running jobs listed by worker. */
const MAX_RUNNING = 500;

interface WorkerView extends WorkerRecord {
  readonly connected?: ConnectedWorker;
  readonly jobs?: readonly string[];
}

/** Adds `/v1/workers`. */
export function workerRoutes(app: FastifyInstance, { service }: ApiContext): void {
  const { ledger, clock } = service;

  const running = async (): Promise<Map<string, string[]>> => {
    const jobs = new Map<string, string[]>();
    for (const { id, worker } of (await ledger.list({ state: 'leased' }, { limit: MAX_RUNNING }, clock.now())).jobs)
      if (worker !== undefined) jobs.set(worker.id, [...(jobs.get(worker.id) ?? []), id]);
    return jobs;
  };
  const views = async (): Promise<WorkerView[]> => {
    const [records, jobs] = await Promise.all([ledger.listWorkers(), running()]);
    const connected = new Map(service.workers().map((worker) => [worker.id, worker]));
    const known = new Map<string, WorkerRecord>([...connected.values()].map(({ id, name }) => [id, { id, name }]));
    for (const record of records) known.set(record.id, record);
    return [...known.values()].map((record) => {
      const link = connected.get(record.id);
      const ids = jobs.get(record.id);
      return { ...record, ...(link === undefined ? {} : { connected: link }), ...(ids === undefined ? {} : { jobs: ids }) };
    });
  };

  app.get(
    '/v1/workers',
    about('read', TAG, 'All known workers, connected or not', { response: object({ workers: list(ref('Worker')) }) }),
    async () => ({
      workers: await views(),
    }),
  );

  const verbs: Readonly<Record<string, readonly [summary: string, marks: WorkerMarks]>> = {
    approve: ['Approve a worker, even one that was revoked', { approved: true, revoked: false }],
    revoke: ['Revoke a worker and end its link', { revoked: true }],
    drain: ['Give a worker no more jobs', { drained: true }],
    resume: ['End a drain', { drained: false }],
  };
  for (const [verb, [summary, marks]] of Object.entries(verbs))
    app.post<WithId>(
      `/v1/workers/:id/${verb}`,
      about('admin', TAG, summary, { params: idParams, response: ref('Worker') }),
      async ({ params: { id } }) => {
        const worker = (await ledger.getWorker(id)) ?? service.workers().find((one) => one.id === id);
        if (worker === undefined) throw new PeerworkError('worker-unknown', id);
        await service.mark({ id, name: worker.name }, marks);
        return (await views()).find((view) => view.id === id);
      },
    );
}
