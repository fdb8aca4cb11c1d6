// One job per instant of a cron expression (here with a field for seconds); ends after two of them.
import { settled, withGrid } from '../grid.mjs';

await withGrid(
  new URL('task', import.meta.url),
  async (master) => {
    const schedule = { cron: '* * * * * *', timeZone: 'Europe/Berlin', job: { data: { report: 'sales' } } };
    const request = { method: 'PUT', headers: { 'content-type': 'application/json' }, body: JSON.stringify(schedule) };
    await fetch(new URL('/v1/schedules/report', await master.url), request);
    for (const { id, output } of await settled(master, 2)) console.log(id.split('@')[0], output);
  },
  { http: { port: 0 } },
);
