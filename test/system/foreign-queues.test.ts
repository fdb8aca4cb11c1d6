import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { WorqrProducer } from '../../src/index.js';
import { CrewServer } from '../lab/crew-server.js';
import { freePort } from '../lab/free-port.js';
import { Grid } from '../lab/grid.js';
import { LabRedis, requireRedis } from '../lab/redis.js';
import { until } from '../lab/until.js';

/** Returns its data, and everything it can see of its surroundings. */
const PRYING = `
export default async (data, context) => {
  context.log(JSON.stringify(data));
  return { data, env: process.env, argv: process.argv, cwd: process.cwd() };
};
`;

t.test('one Worker, worqr and crew: both are served, a drain ends what runs, nothing of one shows in the other', async (t) => {
  if (!requireRedis(t)) return;
  const redis = await LabRedis.start({ password: 'password-of-worqr' });
  t.teardown(() => redis.close());
  const server = new CrewServer();
  await server.start();
  t.teardown(() => server.stop());
  const grid = new Grid();
  t.teardown(() => grid.close());
  for (const name of ['of-worqr', 'of-crew']) {
    mkdirSync(join(grid.folder, name));
    writeFileSync(join(grid.folder, name, 'task.mjs'), PRYING);
  }
  const port = await freePort();
  const env = {
    ...{ PEERWORK_WORQR_URL: redis.url, PEERWORK_WORQR_TASKS: 'q=of-worqr', LOG_LEVEL: 'debug' },
    ...{ PEERWORK_CREW_URL: server.url, PEERWORK_CREW_TASKS: 'c=of-crew', PEERWORK_CREW_AUTHORIZATION: 'Bearer token-of-crew' },
    ...{ PEERWORK_CREW_ENDPOINT: String(port), PEERWORK_CREW_ENDPOINT_TOKEN: 'token-of-operators' },
  };
  const worker = grid.start(['worker', '--name', 'both', '--concurrency', '2', '--sandbox', 'off'], { env });
  await worker.line(/worker starts .*sources="worqr crew"/);
  const isUp = async () => (await fetch(`http://127.0.0.1:${port}/healthcheck`)).ok;
  await until(() => isUp().catch(() => false));
  const producer = new WorqrProducer({ url: redis.url });
  t.teardown(() => producer.close());
  const tasks = Array.from({ length: 3 }, () => server.add('c', { input: 'datum-of-crew' }));
  const ours = ['datum-of-worqr-1', 'datum-of-worqr-2', 'datum-of-worqr-3'].map((datum) => producer.run('q', datum));
  const called = fetch(`http://127.0.0.1:${port}/execute/c?accessToken=token-of-operators`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ input: 'datum-of-operator', taskId: 'called' }),
  });
  const ofWorqr = JSON.stringify(await Promise.all(ours));
  await until(() => tasks.every(({ isComplete }) => isComplete));
  const ofCrew = JSON.stringify([tasks.map(({ output }) => output), await (await called).json()]);
  t.match(ofWorqr, /datum-of-worqr-3/);
  t.match(ofCrew, /datum-of-operator/);
  const secrets = /password-of-worqr|token-of-crew|token-of-operators|PEERWORK_/;
  t.notMatch(ofWorqr, secrets, 'no task sees what the Worker knows');
  t.notMatch(ofCrew, secrets);
  t.notMatch(ofWorqr, /datum-of-crew|datum-of-operator|of-crew/);
  t.notMatch(ofCrew, /datum-of-worqr|of-worqr/);

  await worker.stop('SIGTERM');
  t.equal((await worker.ended).code, 0);
  t.notMatch(worker.text, /password-of-worqr|token-of-crew|token-of-operators|datum-of/, 'and no log has secrets or data');
  const wrong = worker.lines.filter(
    (line) => (/source=worqr/.test(line) && /crew/.test(line)) || (/source=crew/.test(line) && /worqr|redis/.test(line)),
  );
  t.same(wrong, []);
});

t.test('what a source lacks is said before anything starts', async (t) => {
  const grid = new Grid();
  t.teardown(() => grid.close());
  for (const args of [
    ['--worqr-url', 'redis://127.0.0.1'],
    ['--crew-url', 'http://127.0.0.1'],
    ['--crew-endpoint', '0.0.0.0:80', '--crew-task', 'c=.'],
  ]) {
    const program = grid.start(['worker', ...args]);
    t.equal((await program.ended).code === 0, false, args.join(' '));
    t.match(program.text, /option-invalid|An option has an invalid value/);
  }
});
