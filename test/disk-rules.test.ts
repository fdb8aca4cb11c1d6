import { readdirSync, readFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const src = fileURLToPath(new URL('../../src', import.meta.url));
const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => ({ name: name.split(sep).join('/'), text: readFileSync(join(src, name), 'utf8') }))
  .sort((a, b) => (a.name < b.name ? -1 : 1));

function uses(pattern: RegExp): string[] {
  return files.filter(({ text }) => pattern.test(text)).map(({ name }) => name);
}

t.test('folders are removed by one piece, which fails on nothing', async (t) => {
  t.same(uses(/\brm(?:Sync)?\([^;]*?\brecursive\b|\brimraf\b/), [
    'kit/remove-tree.ts',
    // Runs in the job's own process, which ends if it fails.
    'runners/task-module/child/tidy.ts',
  ]);
});

t.test('files are replaced as a whole by one piece', async (t) => {
  t.same(
    uses(/\brename(?:Sync)?\(/).filter((name) => name !== 'kit/whole-file.ts'),
    [
      // Created under another name, then renamed into place.
      'cli/output-folder.ts',
      'cli/packages.ts',
      // Renamed out of the way, to be removed.
      'cli/service/rotating-log.ts',
      'containers/run-log.ts',
      'kit/clearing.ts',
      'kit/remove-tree.ts',
      // Moved out of a job's reach.
      'runners/task-module/out-files.ts',
      // Named by hash and verified on reading; created under another name, then renamed into place.
      'sources/outgoing-files.ts',
      'task/blob-store.ts',
      'task/file-cache.ts',
      'task/folder-store.ts',
      'task/install-layer.ts',
      'task/layers.ts',
      'task/make-workplace.ts',
    ],
  );
});
