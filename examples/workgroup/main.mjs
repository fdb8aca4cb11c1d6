// Jobs that share an external limit: at most two start per 500 ms, and a run that hits the limit holds the others back.
import { settled, withGrid } from '../grid.mjs';

await withGrid(
  new URL('task', import.meta.url),
  async (master) => {
    const limits = { rate: 2, periodMs: 500 };
    const body = JSON.stringify(limits);
    const request = { method: 'PUT', headers: { 'content-type': 'application/json' }, body };
    await fetch(new URL('/v1/workgroups/some-api', await master.url), request);
    await master.push([1, 2, 3, 4, 5].map((n) => ({ workgroup: 'some-api', data: { n } })));
    const starts = (await settled(master, 5)).map(({ startedAt }) => startedAt).sort((a, b) => a - b);
    console.log('the five starts took more than one period:', starts[4] - starts[0] >= limits.periodMs);
  },
  { http: { port: 0 } },
);
