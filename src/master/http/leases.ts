import type { IncomingMessage } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { PeerworkError } from '../../errors.js';
import type { Outcome, Progress } from '../../job/job.js';
import { DEFAULT_TIMEOUT_MS, MAX_CHANNEL_CHARS, MAX_LABEL_CHARS, MAX_LABELS, MAX_MESSAGE_BYTES, MAX_REPORTS } from '../../job/limits.js';
import { type LeaseKey, leaseKeyOf, type Settlement } from '../../job/verbs.js';
import type { LeasedJob, WorkerRef } from '../../ledger/ledger.js';
import type { RunReport } from '../job-service.js';
import type { ApiContext } from './context.js';
import { about, cursor, disconnectSignal, exactly, integerBetween, list, object, ref, text } from './route.js';

const TAG = 'leases';
const worker = exactly({ name: { type: 'string', minLength: 1, maxLength: 64, pattern: '^[^\\u0000-\\u001f\\u007f]*$' } }, ['name']);
const keys = list(ref('LeaseKey'), { maxItems: 10_000 });
const leaseMs = integerBetween(1_000, 86_400_000);

interface WithWorker {
  readonly worker: { readonly name: string };
}
interface LeaseBody extends WithWorker {
  readonly channels: string[];
  readonly labels?: string[];
  readonly limit?: number;
  readonly waitMs?: number;
  readonly leaseMs?: number;
}
interface ResultBody {
  readonly id: string;
  readonly lease: number;
  readonly outcome: Outcome;
  readonly startedAt?: number;
  readonly finishedAt?: number;
  readonly reports?: readonly Progress[];
}

/** Leases for workers written in any language: the same leases and fences as for linked Workers. */
export function leaseRoutes(app: FastifyInstance, { service, gate, closing }: ApiContext): void {
  const { clock } = service;
  /** Identifies the calling worker by its token and name; throws `rpc-overloaded` if it calls too often. */
  const workerOf = ({ raw, body }: { readonly raw: IncomingMessage; readonly body: WithWorker }): WorkerRef => {
    const { name } = body.worker;
    const holder = gate.holderOf(raw);
    const worker = { id: holder === undefined ? `http:${name}` : `http-${holder}:${name}`, name };
    service.rates.take(worker.id, 'calls', 1, clock.now());
    return worker;
  };

  app.post<{ Body: LeaseBody }>(
    '/v1/leases',
    about('lease', TAG, 'Lease jobs, waiting for them if there are none', {
      body: exactly(
        {
          worker,
          channels: list({ type: 'string', minLength: 1, maxLength: MAX_CHANNEL_CHARS }, { minItems: 1, maxItems: 1_000 }),
          labels: list({ type: 'string', maxLength: MAX_LABEL_CHARS }, { maxItems: MAX_LABELS }),
          limit: integerBetween(1, 1_000),
          waitMs: integerBetween(0, 60_000),
          leaseMs,
        },
        ['worker', 'channels'],
      ),
      response: object({
        worker: object({ id: text }),
        leaseMs: { type: 'integer' },
        beatMs: { type: 'integer' },
        jobs: list(ref('LeasedJob')),
      }),
    }),
    async (request, reply) => {
      const { channels, labels, limit = 1, waitMs = 0, leaseMs = service.leaseMs } = request.body;
      const caller = workerOf(request);
      const jobs = await service.lease({
        worker: caller,
        channels,
        limit,
        waitMs,
        leaseMs,
        signal: disconnectSignal(request, reply, closing),
        ...(labels === undefined ? {} : { labels }),
      });
      const beatMs = Math.min(service.beatMs, Math.ceil(leaseMs / 3));
      return reply
        .type('application/json; charset=utf-8')
        .serializer(String)
        .send(
          `{"worker":${JSON.stringify({ id: caller.id })},"leaseMs":${leaseMs},"beatMs":${beatMs},"jobs":[${jobs.map(leasedText).join(',')}]}`,
        );
    },
  );
  app.post<{ Body: WithWorker & { leases: LeaseKey[]; waiting?: LeaseKey[]; leaseMs?: number } }>(
    '/v1/leases/extend',
    about('lease', TAG, 'Renew leases; the response lists the lost ones', {
      body: exactly({ worker, leases: keys, waiting: keys, leaseMs }, ['worker', 'leases']),
      response: object({ lost: keys }),
    }),
    async (request) => {
      const { leases, waiting = [], leaseMs } = request.body;
      const caller = workerOf(request);
      service.rates.take(caller.id, 'leases', leases.length, clock.now());
      return { lost: await service.extend(caller, leases, { waiting, ...(leaseMs !== undefined && { leaseMs }) }) };
    },
  );
  const result = exactly(
    {
      id: { type: 'string', minLength: 1, maxLength: 200 },
      lease: integerBetween(1, Number.MAX_SAFE_INTEGER),
      outcome: ref('Outcome'),
      startedAt: cursor,
      finishedAt: cursor,
      reports: list(ref('Progress'), { maxItems: MAX_REPORTS }),
    },
    ['id', 'lease', 'outcome'],
  );
  app.post<{ Body: WithWorker & { results: ResultBody[] } }>(
    '/v1/leases/settle',
    about('lease', TAG, 'Report how runs ended', {
      body: exactly({ worker, results: list(result, { maxItems: 10_000 }) }, ['worker', 'results']),
      response: object({ answers: list({ type: 'string', enum: ['settled', 'duplicate', 'stale'] }) }),
      bodyLimit: MAX_MESSAGE_BYTES,
    }),
    async (request) => {
      const { body } = request;
      const now = clock.now();
      const settlements: Settlement[] = body.results.map(({ id, lease, outcome, startedAt = now, finishedAt = now, reports }) => ({
        id,
        lease,
        outcome,
        startedAt,
        finishedAt,
        ...(reports !== undefined && { reports: reports.map((progress) => ({ progress })) }),
      }));
      const caller = workerOf(request);
      const reporting = settlements.filter(({ reports }) => reports !== undefined);
      // Checking which leases it holds costs a transaction, so only settlements with reports are checked.
      const lost = new Set((reporting.length === 0 ? [] : await service.ledger.lost(caller, reporting)).map(leaseKeyOf));
      return { answers: await service.settle(caller, settlements, undefined, (key) => !lost.has(leaseKeyOf(key))) };
    },
  );
  const report = exactly(
    { id: { type: 'string', minLength: 1, maxLength: 200 }, lease: integerBetween(1, Number.MAX_SAFE_INTEGER), progress: ref('Progress') },
    ['id', 'lease', 'progress'],
  );
  app.post<{ Body: WithWorker & { reports: RunReport[] } }>(
    '/v1/leases/report',
    about('lease', TAG, 'Progress and log lines of running jobs', {
      body: exactly({ worker, reports: list(report, { maxItems: 1_000 }) }, ['worker', 'reports']),
    }),
    async (request, reply) => {
      const { reports } = request.body;
      const caller = workerOf(request);
      const [stale] = await service.ledger.lost(caller, reports);
      if (stale !== undefined) throw new PeerworkError('stale', stale.id);
      service.report(caller, reports);
      return reply.code(204).send();
    },
  );
}

/** Embeds what the ledger stores as JSON text unchanged. */
function leasedText({ id, lease, channel, data, attempt, timeoutMs = DEFAULT_TIMEOUT_MS, parents, files }: LeasedJob): string {
  const given = parents?.map(
    (parent) =>
      `{"id":${JSON.stringify(parent.id)},"channel":${JSON.stringify(parent.channel)},"data":${parent.data},"output":${parent.output}}`,
  );
  return `{"id":${JSON.stringify(id)},"lease":${lease},"channel":${JSON.stringify(channel)},"data":${data},"attempt":${attempt},"timeoutMs":${timeoutMs}${given === undefined ? '' : `,"parents":[${given.join(',')}]`}${files === undefined ? '' : `,"files":${JSON.stringify(files)}`}}`;
}
