import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { execa } from 'execa';
import t from 'tap';
import { main } from '../src/cli/main.js';
import { type CommandName, optionNames, optionSpec } from '../src/cli/option-table.js';
import { readOptions } from '../src/cli/options.js';
import { checkJobInput } from '../src/job/job-input.js';
import { readContainerJob } from '../src/runners/container/settings.js';
import { checkActor, readCrawlJob } from '../src/runners/crawl/crawl-job.js';
import { readTaskModuleSettings } from '../src/task/task-settings.js';
import { Grid, packageRoot } from './lab/grid.js';

interface Block {
  readonly place: string;
  /** The info string of the fence: `sh`, `json task.json` and similar. */
  readonly kind: string;
  readonly text: string;
}

const root = fileURLToPath(new URL('../..', import.meta.url));
const pages = [
  'README.md',
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' }).map((name) => `docs/${name.split(sep).join('/')}`),
].filter((page) => page.endsWith('.md'));
const blocks = pages.flatMap(blocksOf);
const of = (kind: string) => blocks.filter((block) => block.kind === kind);

function blocksOf(page: string): Block[] {
  const text = readFileSync(join(root, page), 'utf8');
  return [...text.matchAll(/^ *```(.*)\n([\s\S]*?)^ *```$/gm)].map(({ 1: kind = '', 2: body = '', index }) => ({
    place: `${page}:${text.slice(0, index).split('\n').length}`,
    kind: kind.trim(),
    text: body,
  }));
}

/** Allowed kinds of code blocks; `text` is for output and drawings. */
const KINDS = ['sh', 'env', 'js', 'json job', 'json task.json', 'json output', 'json outcome', 'json package.json', 'json foreign', 'text'];

t.test('every block says what it is', async (t) => {
  t.ok(blocks.length > 40);
  t.same(
    blocks.filter(({ kind }) => !KINDS.includes(kind)).map(({ place, kind }) => `${place} ${kind}`),
    [],
  );
});

t.test('every command line is understood by the program that it names', async (t) => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> };
  const wrong: string[] = [];
  let own = 0;
  for (const { place, text } of of('sh')) {
    for (const words of commandsOf(text)) {
      const [program = '', first = ''] = words;
      if (['peerwork', 'dory-worker', 'node'].includes(program)) {
        own += 1;
        const fault = await faultOf(words.slice(program === 'node' ? 2 : 1), program === 'node' ? first : program);
        if (fault !== '') wrong.push(`${place}: ${words.join(' ')}: ${fault}`);
      } else if (program === 'npm') {
        const known = first === 'run' ? scripts[words[2] ?? ''] !== undefined : ['test', 'install', 'ci'].includes(first);
        if (!known) wrong.push(`${place}: ${words.join(' ')}`);
      } else if (!['git', 'mkdir', 'cd', 'curl', 'npx'].includes(program)) wrong.push(`${place}: ${program}`);
    }
  }
  t.same(wrong, []);
  t.ok(own > 20);
});

t.test('every line of variables has names and values that are read', async (t) => {
  for (const { place, text } of of('env')) {
    for (const line of text.trim().split('\n')) {
      const [, name = '', value = ''] = /^(\w+)=(.*)$/.exec(line) ?? [];
      const key = optionNames.find((one) => optionSpec(one).env === name);
      t.ok(key !== undefined && optionSpec(key).parse(optionSpec(key).many ? value.split(/[\s,]+/) : [value]) !== undefined, place);
    }
  }
});

t.test('every JSON block is accepted by what reads it', async (t) => {
  for (const { place, text } of of('json job'))
    for (const line of text.trim().split('\n')) t.doesNotThrow(() => checkJobInput(JSON.parse(line)), place);
  for (const { place, text } of of('json task.json')) {
    const { runner = 'task-module' } = JSON.parse(text) as { runner?: string };
    const folder = t.testdir({ 'task.json': text });
    const workplace = { folder, entry: 'task.json', digest: '', release: () => {} } as unknown as Parameters<typeof readCrawlJob>[1];
    const job = { id: 'a', data: null, channel: 'default', attempt: 1, timeoutMs: 0 } as unknown as Parameters<typeof readCrawlJob>[0];
    const ceilings = { memoryMb: 4096, cpus: 4, pids: 512, diskMb: 1024 } as Parameters<typeof readContainerJob>[2];
    if (runner === 'task-module') t.doesNotThrow(() => readTaskModuleSettings(text), place);
    else if (runner === 'container') await t.resolves(readContainerJob(job, workplace, ceilings), place);
    else if (runner === 'crawl') checkActor(await readCrawlJob(job, workplace, true));
    else t.fail(`${place}: ${runner}`);
  }
  for (const kind of KINDS.filter((one) => /^json (?!job)/.test(one)))
    for (const { place, text } of of(kind))
      t.doesNotThrow(() => (kind === 'json outcome' ? text.trim().split('\n') : [text]).map((one) => JSON.parse(one)), place);
});

t.test('every block of code compiles against the public types', async (t) => {
  const folder = t.testdir({});
  const names = of('js').map(({ text, place }) => {
    const commonJs = /^module\.exports/m.test(text);
    const name = `${place.replace(/\W+/g, '-')}.${commonJs ? 'c' : 'm'}js`;
    const uses = !commonJs && /\b(?:Worker|Master)\b/.test(text) && !/(?:from |require\()'peerwork['/]/.test(text);
    writeFileSync(join(folder, name), uses ? `import { Master, Worker } from 'peerwork';\nvoid [Master, Worker];\n${text}` : text);
    return name;
  });
  writeFileSync(
    join(folder, 'given.d.ts'),
    `declare const token: string;
     declare const secret: string;
     declare function isOwner(request: unknown): boolean;
     declare module 'big.js';
     declare module 'redis';
     declare module '*/folder-source.mjs';
     declare module 'folder-source.mjs';`,
  );
  writeFileSync(join(folder, 'folder-source.mjs'), readFileSync(join(root, 'examples', 'folder-source.mjs'), 'utf8'));
  const compilerOptions = {
    ...{ target: 'ES2022', lib: ['ES2023'], module: 'NodeNext', moduleResolution: 'NodeNext', types: ['node'] },
    ...{ allowJs: true, checkJs: true, noEmit: true, strict: true, noImplicitAny: false, skipLibCheck: true },
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['given.d.ts', ...names] }));
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', folder], { encoding: 'utf8' });
  t.equal(status, 0, stdout);
});

t.test("the README's commands run as written, and so do its programs", async (t) => {
  const grid = new Grid();
  t.teardown(() => grid.close());
  await grid.tracker();
  const env = { PEERWORK_TRACKERS: grid.trackerUrl, PEERWORK_ICE: 'none', PEERWORK_CONTAINERS: 'off' };
  // Where a clone would be.
  for (const name of ['bin', 'assets', 'worker.js', 'build', 'node_modules', 'package.json'])
    symlinkSync(join(packageRoot, name), join(grid.folder, name));
  const lines = of('sh')
    .filter(({ place }) => place.startsWith('README.md'))
    .flatMap(({ text }) => commandsOf(text))
    .filter(([program]) => program === 'node')
    .map(([, script = '', ...args]) => ({ script, args }));
  t.equal(lines.length, 3);
  const [masters, setUp, works] = lines;
  const master = grid.start(masters?.args ?? [], { env });
  const token = /pw1\.[\w-]+/.exec(await master.line(/pw1\./))?.[0] ?? '';
  const cwd = join(grid.folder, 'worker');
  mkdirSync(cwd);
  // Without a terminal the token comes from a variable.
  const done = grid.start(['worker', ...(setUp?.args ?? [])], { cwd, env: { ...env, token } });
  t.match(await done.ended, { code: 0 }, done.text);
  const worker = grid.start(['worker', ...(works?.args ?? [])], { cwd, env });
  t.match(await master.ended, { code: 0 }, `${master.text}\n${worker.text}`);
  t.ok(grid.outcomes('results.ndjson').length > 0);
  await worker.stop();

  const [task, embedded, embeddedWorker] = of('js').filter(({ place }) => place.startsWith('README.md'));
  const folder = join(grid.folder, 'embedded');
  mkdirSync(join(folder, 'my-task'), { recursive: true });
  // Its dependency is covered by another test.
  const big = 'const Big = (n) => ({ times: (by) => n * by });';
  writeFileSync(join(folder, 'my-task', 'task.mjs'), (task?.text ?? '').replace(/^import Big.*$/m, big));
  const settings = `trackers: ['${grid.trackerUrl}'], ice: [],`;
  const program = (embedded?.text ?? '').replace('new Master({', `new Master({ ${settings}`);
  const [made = '', rest = ''] = program.split('console.log(master.token);');
  const [begun = '', drained = ''] = (embeddedWorker?.text ?? '').split('await worker.drain()');
  const joined = [
    made,
    'const { token } = master;',
    begun,
    rest.replace('await master.close();', ''),
    `await worker.drain()${drained}`,
    'await master.close();',
  ];
  writeFileSync(join(folder, 'program.mjs'), joined.join('\n'));
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(packageRoot, join(folder, 'node_modules', 'peerwork'));
  const run = await execa(process.execPath, ['program.mjs'], { cwd: folder, all: true, reject: false, timeout: 240_000 });
  t.equal(run.exitCode, 0, run.all);
  for (const answer of ['2', '4', '6']) t.match(run.all, new RegExp(`completed \\{ answer: '?${answer}'? \\}`));
});

/** Parses the commands of a shell block into lists of words; everything after `#` is a comment. */
function commandsOf(text: string): string[][] {
  return text
    .split('\n')
    .flatMap((line) => line.replace(/(?:^|\s+)#\s.*$/, '').split(/\s&&\s|\s\|\s/))
    .map((line) => [...line.matchAll(/(?:'[^']*'|"[^"]*"|[^\s'"])+/g)].map(([word]) => word.replace(/'([^']*)'|"([^"]*)"/g, '$1$2')))
    .map((words) => words.slice(words.findIndex((word) => !/^\w+=/.test(word))))
    .filter((words) => words.length > 0);
}

/** Returns what the real command line rejects: an unknown command or flag, a missing argument, or an invalid option value. */
async function faultOf(args: readonly string[], script: string): Promise<string> {
  const line = [...(script === 'worker.js' ? ['worker'] : script === 'dory-worker' ? ['dory'] : []), ...args];
  const said: string[] = [];
  const before = process.stderr.write;
  process.stderr.write = ((text: string) => said.push(text) > 0) as typeof process.stderr.write;
  try {
    const code = await main(line, async (command: Command, load) => {
      await load();
      await readOptions(command, command.name() as CommandName);
      return 0;
    });
    return code === 0 ? '' : said.join('');
  } finally {
    process.stderr.write = before;
  }
}
