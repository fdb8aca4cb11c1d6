import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openfnRunner, openfnSource, Worker } from '../../src/index.js';
import { silentLog } from '../../src/log.js';
import { adaptorFolder } from '../lab/adaptors.js';
import { Program } from '../lab/grid.js';
import { eventsOfTwoSteps, Lightning } from '../lab/lightning.js';

const SECRET = 'the secret of both';
const adaptors = adaptorFolder(t.testdir());
const step = (id: string, body: string, more = {}) => ({ id, body, adaptor: adaptors.common, ...more });

async function start(t: Test, concurrency = 2) {
  const lightning = await new Lightning().start();
  t.teardown(() => lightning.stop());
  const home = t.testdir();
  const worker = new Worker({
    name: 'attic',
    home,
    concurrency,
    log: silentLog,
    sandbox: 'off',
    sources: [openfnSource({ url: lightning.url, secret: SECRET, backoffMs: [50, 500] })],
    runners: [openfnRunner({ adaptorFolder: adaptors.folder, installAdaptors: false })],
  });
  t.teardown(() => worker.close());
  await worker.ready;
  return { lightning, worker, home };
}

t.test('two runs at once on the real engine, from claim to completion, and nothing of them on disk', async (t) => {
  const { lightning, worker, home } = await start(t);
  lightning.dataclips.set('d1', { data: { marker: 'in-the-dataclip' } });
  lightning.credentials.set('c1', { username: 'mariana', password: 'in-the-credential' });
  const plan = () => ({
    dataclip_id: 'd1',
    starting_node_id: 't1',
    triggers: [{ id: 't1' }],
    jobs: [
      step('a', 'fn(s => { console.log("pw", s.configuration.password); return { ...s, data: { n: 1, seen: s.data.marker } }; })', {
        credential_id: 'c1',
      }),
      step('b', 'fn(s => ({ ...s, data: { n: s.data.n + 1, mark: "in-the-" + "output" } }))'),
      step('c', 'fn(s => { throw new Error("never") })'),
    ],
    edges: [
      { source_trigger_id: 't1', target_job_id: 'a', condition: 'always' },
      { source_job_id: 'a', target_job_id: 'b', condition: 'on_job_success' },
      { source_job_id: 'a', target_job_id: 'c', condition: 'on_job_failure' },
    ],
  });
  const ids = [lightning.enqueue(plan()), lightning.enqueue(plan())];
  lightning.workAvailable();
  for (const id of ids) {
    t.match(await lightning.completed(id), { reason: 'success', final_state: { data: { n: 2, mark: 'in-the-output' } } });
    const events = lightning.of(id).map(({ event }) => event);
    t.same(
      events.filter((event) => event !== 'run:log'),
      events.includes('phx_leave') ? eventsOfTwoSteps : eventsOfTwoSteps.slice(0, -1),
    );
    const sources = lightning.of(id, 'run:log').map(({ payload }) => payload['source']);
    t.same(sources.slice(0, 4), ['RTE', 'RTE', 'RTE', 'VER']);
    const told = JSON.stringify(lightning.of(id));
    t.notMatch(told, /in-the-credential/);
    t.match(told, /"pw","\*\*\*"/);
    t.match(lightning.of(id, 'step:complete')[0]?.payload['output_dataclip'], /"seen":"in-the-dataclip"/);
  }
  await worker.drain();
  t.same(worker.status().completed, 2);
  const left = readdirSync(home, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .filter((entry) => /in-the-|mariana|the secret of both/.test(readFileSync(join(entry.parentPath, entry.name), 'latin1')));
  t.same(
    left.map(({ name }) => name),
    [],
  );
});

t.test('the server is killed in the middle of a run on the real engine, and started again', async (t) => {
  const { lightning } = await start(t);
  const id = lightning.enqueue({
    jobs: [
      step('a', 'fn(s => new Promise(resolve => setTimeout(() => resolve({ ...s, data: 1 }), 1500)))'),
      step('b', 'fn(s => ({ ...s, data: s.data + 1 }))'),
    ],
    edges: [{ source_job_id: 'a', target_job_id: 'b' }],
    starting_node_id: 'a',
  });
  lightning.workAvailable();
  await lightning.until(() => lightning.of(id, 'step:start').length > 0);
  await lightning.stop();
  await lightning.start();
  t.match(await lightning.completed(id), { reason: 'success', final_state: { data: 2 } });
  t.equal(lightning.of(id, 'step:complete').length, 2);
});

t.test('closing gives up what runs, and says so', async (t) => {
  const { lightning, worker } = await start(t);
  const id = lightning.enqueue({ jobs: [step('a', 'fn(() => { for (;;); })')] });
  lightning.workAvailable();
  await lightning.until(() => lightning.of(id, 'step:start').length > 0);
  await worker.close();
  t.match(await lightning.completed(id), { reason: 'exception', error_type: 'WorkerStopped' });
  t.match(lightning.of(id, 'step:complete')[0]?.payload, { reason: 'exception' });
});

t.test('from the command line: switched on by the names of OpenFn’s own worker, ended by SIGTERM', async (t) => {
  const lightning = await new Lightning({ style: 'mock' }).start();
  t.teardown(() => lightning.stop());
  const env = {
    WORKER_LIGHTNING_SERVICE_URL: lightning.url,
    WORKER_SECRET: SECRET,
    WORKER_NAME: 'cellar',
    WORKER_REPO_DIR: adaptors.folder,
  };
  const program = new Program(['worker', '--sandbox', 'off', '--concurrency', '1'], t.testdir(), { env });
  t.teardown(() => program.stop('SIGKILL'));
  const id = lightning.enqueue({ jobs: [step('a', 'fn(s => ({ data: 1 }))')] });
  t.match(await lightning.completed(id), { reason: 'success', final_state: { data: 1 } });
  t.equal(lightning.seen('claim')[0]?.payload['worker_name'], 'cellar');
  program.signal('SIGTERM');
  t.match(await program.ended, { code: 0 });
  t.match(program.text, /sources=openfn/);
  t.notMatch(program.text, SECRET);
  await lightning.until(() => lightning.connections === 0);
});
