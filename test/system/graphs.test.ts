import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';

import { Grid } from '../lab/grid.js';
import { until } from '../lab/until.js';

/** Splits a text into words, has each one counted by a child, and the counts summed by a grandchild. */
const TASK = `
export default (data, { spawn, hold, parents, delayChildren }) => {
  if (data.text !== undefined) {
    const words = data.text.split(' ');
    spawn({ id: data.name + ' sum', data: {}, ref: 'sum', parents: words.map((_, at) => 'w' + at) });
    spawn(words.map((word, at) => ({ id: data.name + ' ' + at, ref: 'w' + at, data: { word }, ...(at === 0 && { requires: ['special'] }) })));
    delayChildren(50);
    hold(100);
    return words.length;
  }
  if (data.word !== undefined) return data.word.length;
  return parents.reduce((sum, { output, data }) => sum + (data.word === undefined ? 0 : output), 0);
};
`;

t.test('a graph from a file: parents, continuations and labels, over real links', async (t) => {
  const grid = new Grid();
  t.teardown(() => grid.close());
  mkdirSync(join(grid.folder, 'task'));
  writeFileSync(join(grid.folder, 'task', 'task.mjs'), TASK);
  const jobs = [
    { id: 'after', data: {}, parents: ['one', 'two'], group: 'g' },
    { id: 'one', data: { name: 'one', text: 'three short words' }, group: 'g', workgroup: 'w' },
    { id: 'two', data: { name: 'two', text: 'and four more words' }, group: 'g', workgroup: 'w' },
  ];
  writeFileSync(join(grid.folder, 'jobs.ndjson'), jobs.map((job) => JSON.stringify(job)).join('\n'));
  await grid.tracker();
  // Without an input file it keeps serving, so that the children of the jobs run as well.
  const { program, token } = await grid.master([
    '--task',
    'task',
    '--input',
    'jobs.ndjson',
    '--output',
    'roots.ndjson',
    '--ledger',
    'sqlite:l.db',
  ]);
  grid.worker(token, 'plain', ['--concurrency', '2']);
  t.equal((await program.ended).code, 0, program.text.slice(-1_000));
  t.strictSame(
    grid
      .outcomes('roots.ndjson')
      .map(({ id, output }) => [id, output])
      .sort(),
    [
      ['after', 0],
      ['one', 3],
      ['two', 4],
    ],
  );
  const serving = await grid.master(['--task', 'task', '--output', 'all.ndjson', '--ledger', 'sqlite:l.db']);
  grid.worker(serving.token, 'special', ['--label', 'special']);
  await until(() => existsSync(join(grid.folder, 'all.ndjson')) && grid.outcomes('all.ndjson').length === 3 + 9);
  const all = grid.outcomes('all.ndjson');
  t.equal(all.find(({ id }) => id === 'one sum')?.output, 15);
  t.equal(all.find(({ id }) => id === 'two sum')?.output, 16);
  t.ok(all.filter(({ id }) => / 0$/.test(id)).every(({ worker }) => worker === 'special'));
  t.ok(all.every(({ state }) => state === 'completed'));
});
