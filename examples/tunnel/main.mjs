// A job connects to one server next to its Master through the link, and can reach nothing else there.
import { once } from 'node:events';
import { createServer } from 'node:net';
import { withGrid } from '../grid.mjs';

const server = createServer((socket) => socket.end('hello from the Master’s network\n')).listen(0, '127.0.0.1');
await once(server, 'listening');
const tunnels = { greeting: `127.0.0.1:${server.address().port}` };
await withGrid(
  new URL('task', import.meta.url),
  async (master) => {
    for await (const { output } of master.map([{}])) console.log(output);
  },
  { tunnels },
);
server.close();
