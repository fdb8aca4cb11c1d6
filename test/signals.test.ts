import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = fileURLToPath(new URL('../..', import.meta.url));
const withoutComments = (text: string) => text.replace(/\/\*[\s\S]*?\*\/|(?<!:)\/\/.*$/gm, '');
const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((file) => /\.tsx?$/.test(file))
  .map((file) => ({ path: `src/${file.replaceAll('\\', '/')}`, code: withoutComments(readFileSync(join(root, 'src', file), 'utf8')) }));
const count = (code: string, pattern: RegExp) => [...code.matchAll(pattern)].length;

/** Files with listeners that are never removed from their signal: how many, and why none leaks. */
const kept: Readonly<Record<string, { readonly times: number; readonly because: string }>> = {
  'src/cli/health/master.ts': { times: 1, because: 'the signal is of one check' },
  'src/containers/images.ts': { times: 1, because: 'the signal is of one pull' },
  'src/wires/crew/source/crew-source.ts': { times: 1, because: 'the signal is of one call' },
  'src/wires/dory/source/coordinator.ts': { times: 1, because: 'the signal is of one job' },
  'src/wires/dory/source/held-job.ts': { times: 1, because: 'the signal is of one job, and this is its end' },
  'src/swarm/rpc/on-abort.ts': { times: 1, because: 'one for each signal, however many wait for it' },
  'src/task/npm.ts': { times: 1, because: 'the signal is of one run of npm' },
  'src/worker/worker.ts': { times: 1, because: 'one for the life of a Worker' },
};

t.test('nobody makes a signal that cannot be let go of: src/kit/deadline.ts has one that can', async (t) => {
  t.ok(files.length > 300, 'the sources were found');
  t.same(
    files.filter(({ code }) => count(code, /AbortSignal\s*\.\s*(timeout|any)\b/g) > 0).map(({ path }) => path),
    [],
  );
});

t.test('who listens to a signal stops listening', async (t) => {
  const left = files.flatMap(({ path, code }) => {
    const times = count(code, /addEventListener\(\s*'abort'/g) - count(code, /removeEventListener\(\s*'abort'/g);
    return times > 0 ? [[path, times]] : [];
  });
  t.same(Object.fromEntries(left), Object.fromEntries(Object.entries(kept).map(([path, { times }]) => [path, times])));
});
