import { mkdir, readdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import type { SourceSetup } from '../../src/sources/setup.js';
import { echoTask, temporaryFolder } from '../lab/open-source.js';
import { type JobState, sourceContract } from './contract.js';

const example = new URL('../../../examples/folder-source.mjs', import.meta.url);
const { folderSource } = (await import(pathToFileURL(example.pathname).href)) as {
  folderSource(options: { folder: string; task: string }): SourceSetup;
};
const STATES: Readonly<Record<string, JobState>> = { inbox: 'waiting', working: 'held', done: 'completed', failed: 'failed' };

sourceContract(t, 'the folder sample', async (t) => {
  const root = temporaryFolder(t, 'folder');
  const folder = join(root, 'jobs');
  await mkdir(join(folder, 'inbox'), { recursive: true });
  let count = 0;
  return {
    setup: folderSource({ folder, task: echoTask(t) }),
    push: async () => {
      count += 1;
      await writeFile(join(folder, `${count}.tmp`), JSON.stringify({ n: count }));
      await rename(join(folder, `${count}.tmp`), join(folder, 'inbox', `job-${count}.json`));
      return `job-${count}`;
    },
    state: async (name) => {
      for (const [place, state] of Object.entries(STATES).reverse())
        if ((await readdir(join(folder, place))).includes(`${name}.json`)) return state;
      return 'waiting';
    },
    // Like a network drive that is unreachable for a while.
    kill: () => rename(folder, join(root, 'away')),
    restart: () => rename(join(root, 'away'), folder),
    misbehave: async () => {
      await writeFile(join(folder, 'inbox', 'no-json.json'), Buffer.from([0xff, 0xfe, 0x5b]));
      await writeFile(join(folder, 'inbox', 'deep.json'), `${'['.repeat(600)}${']'.repeat(600)}`);
      await writeFile(join(folder, 'inbox', 'other.txt'), 'not a job');
      return () => {};
    },
  };
});
