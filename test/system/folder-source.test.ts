import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rename, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t, { type Test } from 'tap';
import { createLog } from '../../src/log.js';
import type { SourceSetup } from '../../src/sources/setup.js';
import { Worker } from '../../src/worker/worker.js';
import { removeFolder } from '../lab/remove-folder.js';
import { until } from '../lab/until.js';

const example = new URL('../../../examples/folder-source.mjs', import.meta.url);
const { folderSource } = (await import(pathToFileURL(example.pathname).href)) as {
  folderSource(options: { folder: string; task: string; name?: string }): SourceSetup;
};

const TASK = `module.exports = async (data, context) => {
  console.log('SECRET OF ' + data.of);
  if (data.waitMs) await new Promise((resolve) => setTimeout(resolve, data.waitMs));
  if (data.fail) throw new Error(data.fail);
  return { twice: data.n * 2, env: Object.keys(process.env).sort() };
};
`;

async function setUp(t: Test) {
  const root = await mkdtemp(join(tmpdir(), 'folder-source-'));
  t.teardown(() => removeFolder(root));
  await mkdir(join(root, 'task'));
  await writeFile(join(root, 'task', 'task.cjs'), TASK);
  const lines: string[] = [];
  const log = createLog({ level: 'debug', write: (line) => lines.push(line) });
  const open = (names: readonly string[], concurrency = 2) => {
    const sources = names.map((name) => folderSource({ folder: join(root, name), task: join(root, 'task'), name }));
    const worker = new Worker({ sources, concurrency, home: join(root, 'home'), log });
    t.teardown(() => worker.close());
    return worker;
  };
  /** Pushes like a producer: the file is complete from the moment it appears. */
  const push = async (source: string, name: string, data: unknown) => {
    await writeFile(join(root, source, `${name}.tmp`), JSON.stringify(data));
    await rename(join(root, source, `${name}.tmp`), join(root, source, 'inbox', `${name}.json`));
  };
  const names = (source: string, state: string) =>
    readdirSync(join(root, source, state))
      .filter((name) => name.endsWith('.json'))
      .sort();
  const read = (source: string, state: string, name: string) => JSON.parse(readFileSync(join(root, source, state, `${name}.json`), 'utf8'));
  return { root, lines, open, push, names, read };
}

t.test('a source of under a hundred lines: outputs, errors, and what is given back', async (t) => {
  t.ok(readFileSync(example, 'utf8').split('\n').length <= 100);
  const { open, push, names, read } = await setUp(t);
  const worker = open(['jobs']);
  await worker.ready;
  t.same(worker.status().sources, ['jobs']);
  await push('jobs', 'a', { n: 21 });
  await push('jobs', 'b', { n: 1, fail: 'as asked' });
  await until(() => names('jobs', 'done').length === 1 && names('jobs', 'failed').length === 1);
  t.match(read('jobs', 'done', 'a'), { twice: 42 });
  t.match(read('jobs', 'failed', 'b'), { code: 'task-threw', message: /as asked/ });
  await push('jobs', 'c', { n: 1, waitMs: 60_000 });
  await until(() => names('jobs', 'working').length === 1);
  await worker.close();
  t.same(names('jobs', 'inbox'), ['c.json'], 'what was running is back where it came from');
  t.same(names('jobs', 'working'), []);
});

t.test('two sources under one limit: fair shares, and nothing of one in the other', async (t) => {
  const { lines, open, push, names, read } = await setUp(t);
  const worker = open(['first', 'second'], 2);
  await worker.ready;
  for (let at = 0; at < 3; at += 1)
    for (const source of ['first', 'second']) await push(source, `${source}-${at}`, { n: at, waitMs: 1_500, of: source });
  const shared = () => names('first', 'working').length >= 1 && names('second', 'working').length >= 1;
  await until(() => shared() && worker.status().running === 2);
  t.pass('both have a place');
  await until(() => names('first', 'done').length === 3 && names('second', 'done').length === 3);
  await worker.drain();
  t.same(
    read('first', 'done', 'first-0').env.filter((name: string) => /first|second|source|token/i.test(name)),
    [],
  );
  t.ok(lines.length > 0);
  t.same(
    lines.filter((line) => line.includes('source=first') && line.includes('second')),
    [],
    'log lines of one say nothing of the other',
  );
});

t.test('nobody to work for, and two of one name, are refused', async (t) => {
  const { root } = await setUp(t);
  t.throws(() => new Worker({ sources: [] }), { code: 'token-missing' });
  const one = () => folderSource({ folder: join(root, 'jobs'), task: join(root, 'task') });
  const worker = new Worker({ sources: [one(), one()], home: join(root, 'home'), loglevel: 'off' });
  await t.rejects(worker.ready, { code: 'source-invalid' });
  await t.rejects(new Worker({ sources: [{ ...one(), name: '../x' }], home: join(root, 'home'), loglevel: 'off' }).ready, {
    code: 'source-invalid',
  });
});
