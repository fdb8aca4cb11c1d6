import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { FastifyInstance } from 'fastify';
import type { ApiContext } from './context.js';
import { about, text } from './route.js';

const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60] as const;

interface Histogram {
  readonly counts: number[];
  count: number;
  sum: number;
}

const quote = (value: string) => `"${value.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n')}"`;

/** Serves metrics in the Prometheus text format, version 0.0.4. */
export function metricsRoutes(app: FastifyInstance, { service, series, feed, options }: ApiContext): void {
  const requests = new Map<string, Histogram>();
  const lag = monitorEventLoopDelay({ resolution: 20 });
  lag.enable();
  app.addHook('onClose', async () => void lag.disable());
  app.addHook('onResponse', async (request, reply) => {
    const labels = `method=${quote(request.method)},route=${quote(request.routeOptions.url ?? 'unknown')},status="${reply.raw.statusCode}"`;
    const seconds = reply.elapsedTime / 1_000;
    const histogram = requests.get(labels) ?? { counts: BUCKETS.map(() => 0), count: 0, sum: 0 };
    requests.set(labels, histogram);
    histogram.count += 1;
    histogram.sum += seconds;
    for (const [index, bound] of BUCKETS.entries()) if (seconds <= bound) histogram.counts[index] = (histogram.counts[index] ?? 0) + 1;
  });

  app.get(
    '/metrics',
    about('read', 'metrics', 'Figures for Prometheus', { type: 'text/plain', response: text }),
    async (_request, reply) => {
      const lines: string[] = [];
      const metric = (name: string, type: string, help: string, values: Iterable<readonly [labels: string, value: number]>) => {
        lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
        for (const [labels, value] of values) lines.push(`${name}${labels === '' ? '' : `{${labels}}`} ${value}`);
      };
      const channels = await service.ledger.channels();
      metric(
        'peerwork_jobs',
        'gauge',
        'Jobs by channel and state.',
        channels.flatMap(({ name, counts }) =>
          Object.entries(counts).map(([state, count]) => [`channel=${quote(name)},state="${state}"`, count] as const),
        ),
      );
      metric(
        'peerwork_settled_total',
        'counter',
        'Jobs that ended since this Master started.',
        Object.entries(series.settled).map(([state, count]) => [`state="${state}"`, count] as const),
      );
      metric('peerwork_workers_connected', 'gauge', 'Workers linked to this Master.', [['', service.workers().length]]);
      if (options.leasesExpired !== undefined)
        metric('peerwork_leases_expired_total', 'counter', 'Leases that expired because their worker did not renew them.', [
          ['', options.leasesExpired()],
        ]);
      metric('peerwork_event_readers', 'gauge', 'Open event streams.', [['', feed.readers]]);
      lines.push('# HELP peerwork_http_request_seconds Duration of HTTP requests.', '# TYPE peerwork_http_request_seconds histogram');
      for (const [labels, { counts, count, sum }] of requests) {
        for (const [index, bound] of BUCKETS.entries())
          lines.push(`peerwork_http_request_seconds_bucket{${labels},le="${bound}"} ${counts[index] ?? 0}`);
        lines.push(`peerwork_http_request_seconds_bucket{${labels},le="+Inf"} ${count}`);
        lines.push(`peerwork_http_request_seconds_sum{${labels}} ${sum}`, `peerwork_http_request_seconds_count{${labels}} ${count}`);
      }
      const { rss, heapUsed } = process.memoryUsage();
      metric('process_resident_memory_bytes', 'gauge', 'Resident memory.', [['', rss]]);
      metric('nodejs_heap_used_bytes', 'gauge', 'Used heap.', [['', heapUsed]]);
      metric('nodejs_eventloop_lag_p99_seconds', 'gauge', '99th percentile of the event loop lag since the last scrape.', [
        ['', Math.max(0, lag.percentile(99) / 1e9)],
      ]);
      lag.reset();
      return reply
        .type('text/plain; version=0.0.4; charset=utf-8')
        .serializer(String)
        .send(`${lines.join('\n')}\n`);
    },
  );
}
