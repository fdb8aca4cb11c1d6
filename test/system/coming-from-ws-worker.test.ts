import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { optionNames, optionSpec } from '../../src/cli/option-table.js';
import { adaptorFolder } from '../lab/adaptors.js';
import { Grid } from '../lab/grid.js';
import { Guide } from '../lab/guide.js';
import { Lightning } from '../lab/lightning.js';

const guide = new Guide('coming-from/ws-worker.md');

t.test('the page for users of ws-worker, followed to its end: the server notices no difference', async (t) => {
  const lightning = await new Lightning().start();
  const grid = new Grid();
  t.teardown(async () => {
    await grid.close();
    await lightning.stop();
  });
  const adaptors = adaptorFolder(t.testdir());
  const secret = 'the secret of both';
  const env = { WORKER_LIGHTNING_SERVICE_URL: lightning.url, WORKER_SECRET: secret, WORKER_REPO_DIR: adaptors.folder };
  writeFileSync(join(grid.folder, '.env'), guide.env(env));
  const [command] = guide.commands();
  const worker = grid.start(command ?? []);
  await worker.line(/sources=openfn/);
  await worker.line(/joined OpenFn Lightning/);
  t.match(lightning.requests.find(({ topic, event }) => topic === 'worker:queue' && event === 'phx_join')?.payload, { capacity: 5 });
  const run = async (body: string, adaptor: string = adaptors.common) => {
    const id = lightning.enqueue({ jobs: [{ id: 'a', body, adaptor }] });
    lightning.workAvailable();
    return lightning.completed(id);
  };
  t.match(await run('fn(s => ({ ...s, data: 42 }))'), { reason: 'success', error_type: null, final_state: { data: 42 } });
  t.match(await run('fn(() => { throw new Error("boo"); })'), { reason: 'fail', error_type: 'JobError', error_message: 'boo' });
  t.match(await run('fn('), { reason: 'crash', error_type: 'CompileError' });
  const foreign = { reason: 'crash', error_type: 'ImportError', error_message: 'module blacklisted: lodash' };
  t.match(await run('import _ from "lodash"', 'lodash@latest'), foreign);
  t.match(await run('fn(() => { const all = []; for (;;) all.push(new Array(1e6).fill("xyz")); })'), {
    reason: 'kill',
    error_type: 'OOMError',
    error_message: 'Run exceeded maximum memory usage',
  });
  await worker.stop('SIGTERM');
  t.equal((await worker.ended).code, 0, worker.text);
  t.notMatch(worker.text, secret);
});

t.test('every flag and variable that the page names is there', async (t) => {
  const flags = new Set(optionNames.map((name) => optionSpec(name).flag.split(' ')[0]));
  const variables = new Set(optionNames.map((name) => optionSpec(name).env));
  for (const [flag] of guide.text.matchAll(/--(?:openfn|drain|concurrency)[\w-]*/g)) t.ok(flags.has(flag), flag);
  for (const [variable] of guide.text.matchAll(/\b(?:WORKER|PEERWORK|OPENFN)_\w+/g)) t.ok(variables.has(variable), variable);
});
