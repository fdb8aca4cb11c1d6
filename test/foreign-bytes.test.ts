import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Calls that parse text or bytes other than through src/kit/json.ts. */
const makers = [
  /\bJSON\.parse\b|= JSON\b(?!\.)|\bJSON\[/g,
  /\bdeserialize\(/g,
  /\bstructuredClone\b/g,
  /\.json\(\)/g,
  /\bnew Function\b/g,
  /(?<![.\w])eval\(/g,
  /\brunIn(New|This)?Context\(|\bcompileFunction\(|\bnew (vm\.)?Script\(/g,
];

/** Files where such a call is right, how often, and why. */
const allowed: Readonly<Record<string, { readonly times: number; readonly because: string }>> = {
  'src/kit/json.ts': { times: 1, because: 'the door itself' },
  'src/runners/task-module/child/primordials.ts': {
    times: 1,
    because:
      'in a child process: lines of its Worker, whose values came through its doors, and copies of what the task gives, from text made just before; a child reads no other room',
  },
  'src/crawl/queue/redis-queue.ts': { times: 1, because: 'the name of a command of Redis' },
  'src/wires/queue-xec/server/shim.ts': { times: 1, because: 'program text for a foreign Worker; there it copies its own value' },
};

const withoutComments = (text: string) => text.replace(/\/\*[\s\S]*?\*\/|(?<!:)\/\/.*$/gm, '');

t.test('what others wrote becomes a value through src/kit/json.ts and nowhere else', async (t) => {
  const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((file) => /\.tsx?$/.test(file));
  t.ok(files.length > 300, 'the sources were found');
  const found: Record<string, number> = {};
  for (const file of files) {
    const path = relative(root, join(root, 'src', file))
      .split(sep)
      .join('/');
    const code = withoutComments(readFileSync(join(root, 'src', file), 'utf8'));
    const times = makers.reduce((sum, maker) => sum + [...code.matchAll(maker)].length, 0);
    if (times > 0) found[path] = times;
  }
  t.same(found, Object.fromEntries(Object.entries(allowed).map(([path, { times }]) => [path, times])));
});
