import t from 'tap';
import { crewSource } from '../../../../src/index.js';
import { CrewServer } from '../../../lab/crew-server.js';
import { echoTask } from '../../../lab/open-source.js';
import { sourceContract } from '../../../sources/contract.js';

sourceContract(t, 'crew', async (t) => {
  const server = new CrewServer();
  await server.start();
  t.teardown(() => server.stop());
  const task = (name: string) => server.tasks.get(name);
  return {
    setup: crewSource({ url: server.url, tasks: { c: echoTask(t) }, watchMs: 100, intervalMs: 200 }),
    push: async () => server.add('c', { remainingAttempts: 1 })._id,
    state: (name) => {
      const { isComplete, assignedTo, errors } = task(name) ?? { isComplete: false, assignedTo: null, errors: ['gone'] };
      if (isComplete) return 'completed';
      return assignedTo !== null ? 'held' : errors.length > 0 ? 'failed' : 'waiting';
    },
    kill: () => server.stop(),
    restart: () => server.start(),
    takeAway: async (name) => server.tasks.delete(name),
    misbehave: async () => {
      const answers: readonly ((path: string) => string | undefined)[] = [
        () => '<h1>Not JSON</h1>',
        () => '{"task":{"_id":',
        () => '[]',
        () => `{"task":{"_id":"x","input":${'['.repeat(600)}${']'.repeat(600)}}}`,
        () => '{"task":{"_id":{"not":"a text"}}}',
        () => undefined,
      ];
      let count = 0;
      server.misbehave = ({ path }, response) => {
        const answer = answers[count++ % answers.length]?.(path);
        if (answer === undefined) return response.destroy();
        // An invalid Retry-After must be ignored.
        return response.writeHead(200, { 'content-type': 'application/json', 'retry-after': 'soon' }).end(answer);
      };
      return () => {
        server.misbehave = undefined;
      };
    },
  };
});
