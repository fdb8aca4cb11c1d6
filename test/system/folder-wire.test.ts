import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { transformSync } from 'esbuild';
import t from 'tap';
import { until } from '../lab/until.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const example = join(root, 'examples', 'folder-wire', 'wire.ts');

/** Copies the built package and adds the wire's folder and one entry in the list. */
function withWire(folder: string): string {
  const src = join(folder, 'build', 'src');
  cpSync(join(root, 'build', 'src'), src, { recursive: true, filter: (path) => !path.endsWith('.d.ts') && !path.endsWith('.map') });
  for (const name of ['node_modules', 'assets', 'bin']) symlinkSync(join(root, name), join(folder, name));
  cpSync(join(root, 'package.json'), join(folder, 'package.json'));
  mkdirSync(join(src, 'wires', 'folder'));
  const { code } = transformSync(readFileSync(example, 'utf8'), { loader: 'ts', target: 'es2022' });
  writeFileSync(join(src, 'wires', 'folder', 'wire.js'), code);
  const list = join(src, 'cli', 'wires.js');
  const before = readFileSync(list, 'utf8');
  const after = `import { folder } from '../wires/folder/wire.js';\n${before.replace('const list = [', 'const list = [folder, ')}`;
  writeFileSync(list, after);
  writeFileSync(
    join(folder, 'run.mjs'),
    "import { main } from './build/src/cli/main.js';\nprocess.exit(await main(process.argv.slice(2)));\n",
  );
  return join(folder, 'run.mjs');
}

t.test('a wire is one folder of under a hundred lines, and one entry in the list', async (t) => {
  t.ok(readFileSync(example, 'utf8').split('\n').length <= 100);
  const folder = t.testdir({ task: { 'task.cjs': 'module.exports = async ({ n }) => n * 2;\n' }, cwd: {} });
  const program = withWire(folder);
  const cwd = join(folder, 'cwd');
  const run = (...args: string[]) => promisify(execFile)(process.execPath, [program, ...args], { cwd });
  t.match((await run('worker', '--help')).stdout, /--folder-task <path>\s+The task for them\./, 'its options are options of a Worker');
  await t.rejects(run('worker', '--folder', 'jobs'), { code: 2, stderr: /--folder needs --folder-task/ });

  const jobs = join(folder, 'jobs');
  mkdirSync(join(jobs, 'inbox'), { recursive: true });
  writeFileSync(join(jobs, 'inbox', 'a.json'), '{"n":21}');
  const args = [program, 'worker', '--folder', jobs, '--folder-task', join(folder, 'task')];
  const worker = execFile(process.execPath, args, { cwd });
  const ended = new Promise((resolve) => worker.once('exit', resolve));
  try {
    await until(() => existsSync(join(jobs, 'done', 'a.json')) && !existsSync(join(jobs, 'working', 'a.json')));
    t.equal(readFileSync(join(jobs, 'done', 'a.json'), 'utf8'), '42');
  } finally {
    // Before the folder is removed.
    worker.kill('SIGINT');
    await ended;
  }
});
