// A job that creates children: one per word, and one that waits for those and adds up their outputs.
import { settled, withGrid } from '../grid.mjs';

await withGrid(new URL('task', import.meta.url), async (master) => {
  await master.push({ id: 'text', data: { text: 'three short words' } });
  const jobs = await settled(master, 5);
  console.log(jobs.at(-1).id, jobs.at(-1).output);
});
