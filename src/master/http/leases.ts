import type { FastifyInstance } from 'fastify';
import type { Outcome } from '../../job/job.js';
import { DEFAULT_TIMEOUT_MS, MAX_CHANNEL_CHARS, MAX_LABEL_CHARS, MAX_LABELS, MAX_MESSAGE_BYTES } from '../../job/limits.js';
import type { LeaseKey, Settlement } from '../../job/verbs.js';
import type { LeasedJob, WorkerRef } from '../../ledger/ledger.js';
import type { RunReport } from '../desk.js';
import type { ApiContext } from './context.js';
import { about, cursor, exactly, list, object, ref, text, untilGone, whole } from './route.js';

const TAG = 'leases';
const worker = exactly({ name: { type: 'string', minLength: 1, maxLength: 64, pattern: '^[^\\u0000-\\u001f\\u007f]*$' } }, ['name']);
const keys = list(ref('LeaseKey'), { maxItems: 10_000 });
const leaseMs = whole(1_000, 86_400_000);

interface Named {
  readonly worker: { readonly name: string };
}
interface LeaseBody extends Named {
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
}

const refOf = ({ worker: { name } }: Named): WorkerRef => ({ id: `http:${name}`, name });

/** Workers in any language: the same leases and fences as those of Workers that are linked. */
export function leaseRoutes(app: FastifyInstance, { desk, closing }: ApiContext): void {
  const { clock } = desk;

  app.post<{ Body: LeaseBody }>(
    '/v1/leases',
    about('work', TAG, 'Lease jobs, waiting for them if there are none', {
      body: exactly(
        {
          worker,
          channels: list({ type: 'string', minLength: 1, maxLength: MAX_CHANNEL_CHARS }, { minItems: 1, maxItems: 1_000 }),
          labels: list({ type: 'string', maxLength: MAX_LABEL_CHARS }, { maxItems: MAX_LABELS }),
          limit: whole(1, 1_000),
          waitMs: whole(0, 60_000),
          leaseMs,
        },
        ['worker', 'channels'],
      ),
      answer: object({
        worker: object({ id: text }),
        leaseMs: { type: 'integer' },
        beatMs: { type: 'integer' },
        jobs: list(ref('LeasedJob')),
      }),
    }),
    async (request, reply) => {
      const { channels, labels, limit = 1, waitMs = 0, leaseMs = desk.leaseMs } = request.body;
      const asking = refOf(request.body);
      const signal = untilGone(request, reply, closing);
      const jobs = await desk.lease({
        worker: asking,
        channels,
        limit,
        waitMs,
        leaseMs,
        signal,
        ...(labels === undefined ? {} : { labels }),
      });
      if (signal.aborted && jobs.length > 0) await desk.giveBack(asking, jobs, 'the worker has gone');
      const beatMs = Math.min(desk.beatMs, Math.ceil(leaseMs / 3));
      const given = signal.aborted ? [] : jobs.map(leasedText);
      return reply
        .type('application/json; charset=utf-8')
        .serializer(String)
        .send(`{"worker":${JSON.stringify({ id: asking.id })},"leaseMs":${leaseMs},"beatMs":${beatMs},"jobs":[${given.join(',')}]}`);
    },
  );
  app.post<{ Body: Named & { leases: LeaseKey[]; leaseMs?: number } }>(
    '/v1/leases/extend',
    about('work', TAG, 'Renew leases; those that are lost are answered', {
      body: exactly({ worker, leases: keys, leaseMs }, ['worker', 'leases']),
      answer: object({ lost: keys }),
    }),
    async ({ body }) => ({ lost: await desk.extend(refOf(body), body.leases, body.leaseMs) }),
  );
  const result = exactly(
    {
      id: { type: 'string', minLength: 1, maxLength: 200 },
      lease: whole(1, Number.MAX_SAFE_INTEGER),
      outcome: ref('Outcome'),
      startedAt: cursor,
      finishedAt: cursor,
    },
    ['id', 'lease', 'outcome'],
  );
  app.post<{ Body: Named & { results: ResultBody[] } }>(
    '/v1/leases/settle',
    about('work', TAG, 'Say how runs ended', {
      body: exactly({ worker, results: list(result, { maxItems: 10_000 }) }, ['worker', 'results']),
      answer: object({ answers: list({ type: 'string', enum: ['settled', 'duplicate', 'stale'] }) }),
      bodyLimit: MAX_MESSAGE_BYTES,
    }),
    async ({ body }) => {
      const now = clock.now();
      const settlements: Settlement[] = body.results.map(({ id, lease, outcome, startedAt = now, finishedAt = now }) => ({
        id,
        lease,
        outcome,
        startedAt,
        finishedAt,
      }));
      return { answers: await desk.settle(refOf(body), settlements) };
    },
  );
  const report = exactly(
    { id: { type: 'string', minLength: 1, maxLength: 200 }, lease: whole(1, Number.MAX_SAFE_INTEGER), progress: ref('Progress') },
    ['id', 'lease', 'progress'],
  );
  app.post<{ Body: Named & { reports: RunReport[] } }>(
    '/v1/leases/report',
    about('work', TAG, 'Progress and log lines of running jobs', {
      body: exactly({ worker, reports: list(report, { maxItems: 1_000 }) }, ['worker', 'reports']),
    }),
    async ({ body }, reply) => {
      desk.report(refOf(body), body.reports);
      return reply.code(204).send();
    },
  );
}

/** What the ledger stores as JSON text goes out as it is. */
function leasedText({ id, lease, channel, data, attempt, timeoutMs = DEFAULT_TIMEOUT_MS, parents }: LeasedJob): string {
  const given = parents?.map(
    (parent) =>
      `{"id":${JSON.stringify(parent.id)},"channel":${JSON.stringify(parent.channel)},"data":${parent.data},"output":${parent.output}}`,
  );
  return `{"id":${JSON.stringify(id)},"lease":${lease},"channel":${JSON.stringify(channel)},"data":${data},"attempt":${attempt},"timeoutMs":${timeoutMs}${given === undefined ? '' : `,"parents":[${given.join(',')}]`}}`;
}
