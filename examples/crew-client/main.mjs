// A program written for a crew server: its tasks become jobs of the Master, run by peerwork's Workers.
import { crewServer } from 'peerwork';
import { settled, withGrid } from '../grid.mjs';

await withGrid(
  new URL('task', import.meta.url),
  async (master) => {
    const crew = async (path, body) => {
      const request = body && { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
      return (await fetch(new URL(`/crew/api/v1/${path}`, await master.url), request)).json();
    };
    const group = await crew('task_groups', { name: 'invoices' });
    const task = await crew(`task_group/${group._id}/tasks`, { name: 'one', channel: 'default', input: { amount: 40 } });
    await settled(master, 1);
    const { isComplete, output } = await crew(`task/${task._id}`);
    console.log(isComplete, output);
  },
  { http: { port: 0 }, serve: [crewServer()] },
);
