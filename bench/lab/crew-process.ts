/** A crew server in a process of its own: the one that the tests have. */
import { CrewServer } from '../../test/lab/crew-server.js';
import { serve } from './child.js';

const server = new CrewServer();

const verbs = {
  async open(_: undefined): Promise<string> {
    await server.start();
    return server.url;
  },
  /** Removes what is there, adds so many, and forgets the requests. */
  async fill(count: number): Promise<void> {
    server.tasks.clear();
    server.requests.length = 0;
    for (let at = 0; at < count; at += 1) server.add('c', { input: { n: at } });
  },
  async requests(_: undefined): Promise<number> {
    return server.requests.length;
  },
};
export type CrewProcess = typeof verbs;

serve(verbs, () => server.stop());
