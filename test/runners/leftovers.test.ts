import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Json, Outcome } from '../../src/job/job.js';
import { createLog } from '../../src/log.js';
import { TaskModuleRunner } from '../../src/runners/task-module/task-module-runner.js';
import { requireTools } from '../lab/require.js';
import { until } from '../lab/until.js';

const TASK = `
  const fs = require('node:fs');
  const leave = {
    'a chain of folders': () => {
      for (let depth = 0; depth < 20; depth += 1) {
        fs.mkdirSync('d'.repeat(200));
        process.chdir('d'.repeat(200));
      }
    },
    'a chain of short names': () => {
      for (let depth = 0; depth < 300; depth += 1) {
        fs.mkdirSync('d');
        process.chdir('d');
      }
    },
    'names that are not UTF-8': () => {
      for (const name of [[0xff], [0xc3, 0x28], [0x0a]]) fs.mkdirSync(Buffer.from(name));
      fs.writeFileSync(Buffer.from([0xfe, 0xff]), 'x');
    },
    'folders without permissions': () => {
      fs.mkdirSync('shut/inner', { recursive: true });
      fs.writeFileSync('shut/inner/file', 'x');
      for (const path of ['shut/inner/file', 'shut/inner', 'shut', '.']) fs.chmodSync(path, 0);
    },
    'many files': () => {
      for (let at = 0; at < 3000; at += 1) fs.writeFileSync(String(at), '');
    },
    nothing: () => {},
  };
  module.exports = (what) => {
    const found = fs.readdirSync('.', 'buffer').length;
    try {
      leave[what]();
    } catch (error) {
      return { found, stopped: error.code };
    }
    return { found };
  };
`;

/** Longer than the maximum path length: 120 levels of 200 bytes. */
function plantChain(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const [a, b] = [join(folder, 'a'), join(folder, 'b')];
  mkdirSync(a);
  for (let level = 0; level < 120; level += 1) {
    mkdirSync(b);
    renameSync(a, join(b, 'd'.repeat(200)));
    renameSync(b, a);
  }
}

/** Returns a process id that is not in use. */
function unusedPid(): number {
  return spawnSync(process.execPath, ['-e', '']).pid;
}

async function check(t: Test, sandbox: 'required' | 'off'): Promise<void> {
  const folder = t.testdir({ task: { 'task.cjs': TASK } });
  const scratchFolder = join(folder, 'scratch');
  const lines: string[] = [];
  const log = createLog({ level: 'warn', write: (line) => lines.push(line) });
  const open = () => TaskModuleRunner.start({ concurrency: 1, memoryMb: 192, scratchFolder, sandbox, log });
  const run = (runner: TaskModuleRunner, data: Json): Promise<Outcome> =>
    runner.run(
      { id: 'a', channel: 'default', data, attempt: 1, timeoutMs: 20_000 },
      {
        workplace: { digest: 'a', folder: join(folder, 'task'), entry: 'task.cjs', readable: [join(folder, 'task')] },
        signal: new AbortController().signal,
        report: () => {},
      },
    );
  const planted = join(scratchFolder, `jobs.${unusedPid()}.0123456789ab`);
  plantChain(planted);
  let runner = await open();
  for (const what of [
    'a chain of folders',
    'nothing',
    'a chain of short names',
    'nothing',
    'names that are not UTF-8',
    'nothing',
    'folders without permissions',
    'nothing',
    'many files',
    'nothing',
  ])
    t.match(await run(runner, what), { state: 'completed', output: { found: 0 } }, `${what}, and the job before has left nothing`);
  await until(() => !existsSync(planted));
  await run(runner, 'a chain of folders');
  await runner.close();
  t.same(readdirSync(scratchFolder), [], 'nothing is left at the end');
  runner = await open();
  t.match(await run(runner, 'nothing'), { output: { found: 0 } }, 'and it starts again');
  await runner.close();
  t.same(
    lines.filter((line) => line.includes('removed')),
    [],
    'and nothing is worth a word',
  );
}

t.test('what jobs leave behind is cleared away, and the next works: tier process', (t) => check(t, 'off'));

t.test('what jobs leave behind is cleared away, and the next works: tier bwrap', async (t) => {
  if (!requireTools(t, { bwrap: 'bubblewrap' })) return;
  await check(t, 'required');
});

t.test('what cannot be removed is named with its remedy, and keeps neither the runner from starting nor from stopping', async (t) => {
  if (!requireTools(t, { unshare: 'util-linux' }, { root: true })) return;
  const folder = t.testdir({ scratch: {} });
  const left = join(folder, 'scratch', `jobs.${unusedPid()}.0123456789ab`);
  mkdirSync(join(left, 'inner'), { recursive: true });
  writeFileSync(join(left, 'file'), '');
  const module = new URL('../../src/runners/task-module/task-module-runner.js', import.meta.url).pathname;
  const program = `
    const { TaskModuleRunner } = await import(process.argv[1]);
    const lines = [];
    const log = { warn: (message, fields) => lines.push({ message, ...fields }), info() {}, debug() {}, error() {} };
    const runner = await TaskModuleRunner.start({ concurrency: 1, scratchFolder: process.argv[2], sandbox: 'off', log });
    await runner.close();
    console.log(JSON.stringify(lines.filter(({ message }) => message.includes('removed'))));`;
  const script = 'mount -t tmpfs none "$1" && exec "$2" --input-type=module -e "$3" "$4" "$5"';
  const args = ['-m', 'sh', '-ec', script, 'sh', join(left, 'inner'), process.execPath, program, module, join(folder, 'scratch')];
  const { stdout, stderr, status } = spawnSync('unshare', args, { encoding: 'utf8', timeout: 240_000 });
  t.equal(status, 0, stderr);
  t.match(JSON.parse(stdout), [{ message: /could not be removed; the next start tries again/, path: join(left, 'inner'), hint: /umount/ }]);
  t.same(readdirSync(left), ['inner'], 'all that can go is gone');
});
