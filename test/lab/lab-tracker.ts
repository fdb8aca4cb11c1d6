/** Our own tracker in the NAT lab, on port 80, which every home can reach. */
import { TrackerServer } from '../../src/swarm/tracker-server.node.js';
import { serve } from './lab-process.js';

const server = new TrackerServer();

serve({
  async start({ host, port }: { host: string; port: number }): Promise<string> {
    await server.start(port, host);
    return server.url;
  },
  stop: () => server.close(),
});
