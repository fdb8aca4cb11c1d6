import { readdirSync } from 'node:fs';
import t from 'tap';
import { createLog } from '../../../../src/log.js';
import { Backlog } from '../../../../src/wires/queue-xec/source/backlog.js';

t.test('jobs that come while others end are on disk until they end themselves, and nothing is said of it', async (t) => {
  const lines: string[] = [];
  const folder = t.testdir();
  const backlog = await Backlog.open(folder, 0, createLog({ level: 'debug', write: (line) => lines.push(line) }));
  for (let round = 0; round < 50; round += 1) {
    const ending = backlog.take(4, 0);
    const coming = Array.from({ length: 4 }, (_, each) => backlog.add(`${round}.${each}`));
    await Promise.all([...coming, ...ending.map((entry) => backlog.done(entry))]);
    t.equal(readdirSync(folder).filter((name) => name.endsWith('.job')).length, backlog.size);
  }
  t.same(lines, []);
});
