import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { Checkout } from '../../bench/lab/checkout.js';
import { until } from '../lab/until.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const git = (cwd: string, ...args: string[]) =>
  execFileSync('git', ['-c', 'user.name=x', '-c', 'user.email=x@x', ...args], { cwd, encoding: 'utf8' });

/** A repository with one package and a build that copies a file. */
function makeRepository(folder: string): void {
  for (const each of ['scripts', 'node_modules/one']) mkdirSync(join(folder, each), { recursive: true });
  writeFileSync(join(folder, '.gitignore'), 'node_modules/\nbuilt\n');
  writeFileSync(join(folder, 'package-lock.json'), '{}');
  writeFileSync(join(folder, 'text'), 'old');
  writeFileSync(join(folder, 'scripts/build.mjs'), "import { copyFileSync } from 'node:fs';\ncopyFileSync('text', 'built');\n");
  writeFileSync(join(folder, 'node_modules/one/index.js'), '1');
  git(folder, 'init', '--quiet');
  git(folder, 'add', '.');
  git(folder, 'commit', '--quiet', '-m', 'old');
  writeFileSync(join(folder, 'text'), 'new');
}

t.test('another revision is built beside the work tree, with its dependencies, and is gone at the end', async (t) => {
  const folder = t.testdir();
  makeRepository(folder);
  const checkout = await Checkout.at(folder);
  await checkout.open('HEAD');
  t.equal(readFileSync(join(checkout.folder, 'built'), 'utf8'), 'old');
  t.equal(readFileSync(join(checkout.folder, 'node_modules/one/index.js'), 'utf8'), '1');
  await checkout.close();
  t.notOk(existsSync(dirname(checkout.folder)), 'its folder is gone');
  t.equal(git(folder, 'worktree', 'list').trim().split('\n').length, 1, 'git knows of it no more');
  t.ok(existsSync(join(folder, 'node_modules/one/index.js')), 'the dependencies are still there');
});

t.test('a revision that does not exist is said to be none, and leaves nothing', async (t) => {
  const folder = t.testdir();
  makeRepository(folder);
  const checkout = await Checkout.at(folder);
  await t.rejects(checkout.open('no-such-revision'), /worktree add/);
  await checkout.close();
  t.notOk(existsSync(dirname(checkout.folder)));
});

t.test(
  'Ctrl-C while the other revision is being built leaves nothing',
  { skip: !existsSync(join(root, '.git')) && 'no git' },
  async (t) => {
    const compare = spawn(process.execPath, ['build/bench/compare.js', 'HEAD'], { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] });
    let folder = '';
    for await (const line of createInterface(compare.stderr)) {
      folder = / is built in (.+)$/.exec(line)?.[1] ?? '';
      if (folder !== '') break;
    }
    await until(() => existsSync(join(folder, 'node_modules')));
    compare.kill('SIGINT');
    const [code] = await once(compare, 'exit');
    t.equal(code, 130);
    t.notOk(existsSync(dirname(folder)), 'its folder is gone');
    t.notMatch(git(root, 'worktree', 'list'), folder);
  },
);
