// A failed job is retried after a back-off, until it has no attempts left or its error is marked as unrecoverable.
import { settled, withGrid } from '../grid.mjs';

await withGrid(new URL('task', import.meta.url), async (master) => {
  await master.push([
    { id: 'flaky', data: { failures: 2 }, attempts: 3, backoffMs: 100 },
    { id: 'hopeless', data: { unrecoverable: true }, attempts: 3 },
  ]);
  const jobs = await settled(master, 2);
  jobs.sort((a, b) => (a.id < b.id ? -1 : 1));
  for (const { id, state, attempts, output, error } of jobs) console.log(id, state, attempts, output ?? error.message);
});
