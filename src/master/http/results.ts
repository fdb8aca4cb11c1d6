import type { FastifyInstance } from 'fastify';
import { asPeerworkError } from '../../errors.js';
import type { SettledJob } from '../../job/job.js';
import type { ApiContext } from './context.js';
import { NDJSON, openStream, writeAll } from './ndjson.js';
import { problemOf } from './problems.js';
import { about, cursor, disconnectSignal, flag, integerBetween, object, ref } from './route.js';

const PAGE = 100;

/** Adds `/v1/results`: settled jobs as NDJSON, optionally followed forever. */
export function resultRoutes(app: FastifyInstance, { service, closing }: ApiContext): void {
  const facts = about('read', 'results', 'Settled jobs in the order of their settlement, from behind a cursor', {
    query: { after: cursor, limit: integerBetween(1, 1_000_000), follow: flag },
    type: NDJSON,
    response: object({ cursor: { type: 'integer' }, job: ref('SettledJob') }),
  });
  app.get<{ Querystring: { after?: number; limit?: number; follow?: boolean } }>('/v1/results', facts, async (request, reply) => {
    const { after = 0, limit = Number.POSITIVE_INFINITY, follow = false } = request.query;
    const signal = disconnectSignal(request, reply, closing);
    const raw = openStream(reply, NDJSON);
    let remaining = limit;
    let complete = false;
    try {
      for await (const result of follow ? service.results.follow({ after, signal }) : stored(after)) {
        if (signal.aborted || !(await writeAll(raw, `${JSON.stringify(result)}\n`))) break;
        remaining -= 1;
        if (remaining === 0) break;
      }
      complete = follow || remaining === 0 || !signal.aborted;
    } catch (thrown) {
      complete = true;
      await writeAll(raw, `${JSON.stringify({ problem: problemOf(asPeerworkError(thrown)) })}\n`);
    }
    // If the Master stops midway, the response must not look like the complete list.
    if (complete) raw.end();
    else raw.destroy();
    return reply;
  });

  async function* stored(from: number): AsyncGenerator<{ readonly cursor: number; readonly job: SettledJob }, void, undefined> {
    for (let after = from; ; ) {
      const page = await service.ledger.settledAfter(after, PAGE);
      yield* page;
      const last = page.at(-1);
      if (last === undefined) return;
      after = last.cursor;
    }
  }
}
