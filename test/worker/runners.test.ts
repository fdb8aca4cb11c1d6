import { join } from 'node:path';
import t from 'tap';
import { PeerworkError } from '../../src/errors.js';
import { createLog } from '../../src/log.js';
import { takeHome } from '../../src/worker/home.js';
import { Runners } from '../../src/worker/runners.js';
import { ManualClock, turn } from '../swarm/manual-clock.js';

t.test('a runner that cannot be opened is tried again, and joins when it can', async (t) => {
  const clock = new ManualClock();
  const home = await takeHome(join(t.testdir(), 'home'));
  t.teardown(() => home.release());
  const lines: string[] = [];
  const log = createLog({ level: 'info', write: (line) => /jobs for late/.test(line) && lines.push(line) });
  let [tries, joins, closed] = [0, 0, 0];
  const late = {
    kind: 'late',
    open: async () => {
      tries += 1;
      if (tries < 4) throw new PeerworkError('engine-missing', 'no engine yet');
      const close = async () => {
        closed += 1;
      };
      return { kind: 'late', isolation: 'none', run: () => Promise.reject(new Error('unused')), close };
    },
  };
  const onJoin = () => {
    joins += 1;
  };
  const runners = new Runners({ worker: 'w', concurrency: 1, home, options: { sandbox: 'off', runners: [late] }, clock, log, onJoin });
  await runners.taskModules;
  t.equal(await runners.find('late'), undefined);
  await turn();
  t.match(lines, [/jobs for late are left to others: .*no engine yet/]);
  let joined = false;
  void runners.joined('late').then(() => {
    joined = true;
  });
  for (const [ms, expected] of [
    [59_000, 1],
    [1_000, 2],
    [119_000, 2],
    [1_000, 3],
    [240_000, 4],
  ] as const) {
    await clock.pass(ms);
    // Opening a runner creates a folder first.
    while (tries < expected) await turn();
    t.equal(tries, expected);
    for (let i = 0; i < 20; i += 1) await turn();
  }
  while (!joined) await turn();
  t.equal(joins, 1);
  t.equal((await runners.find('late'))?.kind, 'late');
  t.match(lines.at(-1), /jobs for late are taken from now on/);
  t.equal(lines.length, 2, 'said once');
  await runners.close();
  t.equal(closed, 1);
});
