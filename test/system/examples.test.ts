import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import t from 'tap';
import { TrackerServer } from '../../src/swarm/tracker-server.node.js';
import { packageRoot } from '../lab/grid.js';

const folder = join(packageRoot, 'examples');

/** Only bounds hangs. */
const EXAMPLE_LIMIT_MS = 300_000;

/** Expected output of each program. */
const OUTPUT: Readonly<Record<string, readonly string[]>> = {
  embedded: ['progress 0.5', 'log doubling 21', '0 completed { twice: 42 }'],
  graph: ['sum 15'],
  retries: ['flaky completed 3 attempt 3 worked', 'hopeless failed 1 the account is closed'],
  workgroup: ['the five starts took more than one period: true'],
  schedule: ['report sales written', 'report sales written'],
  tunnel: ['hello from the Master’s network'],
  'crew-client': ['true { total: 42 }'],
};
const programs = readdirSync(folder).filter((name) => existsSync(join(folder, name, 'main.mjs')));

t.test('every example is listed with the test that runs it', async (t) => {
  const readme = readFileSync(join(folder, 'README.md'), 'utf8');
  const names = readdirSync(folder).filter((name) => name !== 'README.md');
  t.same(
    names.filter((name) => !new RegExp(`\\]\\(${name}[)/]`).test(readme)),
    [],
  );
  t.same(programs.toSorted(), Object.keys(OUTPUT).toSorted());
});

for (const name of programs) {
  t.test(`example ${name}`, async (t) => {
    const tracker = new TrackerServer();
    await tracker.start(0, '127.0.0.1');
    t.teardown(() => tracker.close());
    const { exitCode, stdout, stderr } = await execa(process.execPath, [join(folder, name, 'main.mjs')], {
      env: { PEERWORK_TRACKERS: tracker.url, LOG_LEVEL: 'error' },
      reject: false,
      stdin: 'ignore',
      timeout: EXAMPLE_LIMIT_MS,
    });
    t.equal(exitCode, 0, stderr);
    t.same(stdout.split('\n'), OUTPUT[name]);
  });
}
