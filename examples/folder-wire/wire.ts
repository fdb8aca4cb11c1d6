// A wire in under a hundred lines: jobs are files in a folder. Copied to src/wires/folder/, with one entry in src/cli/wires.ts, it is part of
// peerwork: `peerwork worker --folder jobs --folder-task my-task`. docs/sources/writing-one.md explains it.
//   inbox/NAME.json    data of a waiting job            working/NAME.json  data of a running job
//   done/NAME.json     output of a completed job        failed/NAME.json   error of a failed job
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, pause } from '../../clock.js';
import { option } from '../../config/option.js';
import { anyText } from '../../config/values.js';
import { declareErrors, PeerworkError } from '../../errors.js';
import type { Json, Outcome } from '../../job/job.js';
import type { Lease, Source } from '../../job/source.js';
import { LOCAL_JSON, tryParseJson } from '../../kit/json.js';
import { writeWhole } from '../../kit/whole-file.js';
import type { LocalTask, SourceSetup } from '../../sources/setup.js';
import type { Wire } from '../wire.js';

const POLL_MS = 500; // Not every file system reports new files.

const FolderError = declareErrors({
  'folder-unusable': { message: 'The folder of jobs cannot be used: {detail}', hint: 'Make it, or correct --folder.', status: 500 },
});

const flags = { commands: ['worker'], allowed: 'a folder', default: undefined, parse: anyText } as const;
const options = {
  folder: option<string, undefined>({ ...flags, flag: '--folder <path>', env: 'FOLDER', meaning: 'Does the jobs of this folder.' }),
  folderTask: option<string, undefined>({ ...flags, flag: '--folder-task <path>', env: 'FOLDER_TASK', meaning: 'The task for them.' }),
};

export const folder: Wire<typeof options> = {
  name: 'folder',
  summary: 'files in a folder',
  options,
  errors: FolderError,
  questions: ['folder', 'folderTask'],
  configured: ({ folder: root }) => root !== undefined,
  async setup({ folder: root = '', folderTask: task }) {
    if (task === undefined) throw new PeerworkError('option-invalid', '--folder needs --folder-task');
    return folderSource(root, task);
  },
};

function folderSource(root: string, task: string): SourceSetup {
  return {
    name: 'folder',
    async open({ clock, localTask }) {
      const made = ['inbox', 'working', 'done', 'failed'].map((state) => mkdir(join(root, state), { recursive: true }));
      await Promise.all(made).catch((cause) => Promise.reject(new FolderError('folder-unusable', root, { cause })));
      return openFolder(root, await localTask('default', task), clock);
    },
  };
}

function openFolder(root: string, code: LocalTask, clock: Clock): Source {
  const closed = new AbortController();
  const move = (file: string, from: string, to: string) =>
    rename(join(root, from, file), join(root, to, file)).then(
      () => true,
      () => false,
    );
  const settle = async (file: string, outcome: Outcome) => {
    if (outcome.state === 'released') return void (await move(file, 'working', 'inbox'));
    const [state, value] = outcome.state === 'completed' ? ['done', outcome.output] : ['failed', outcome.error];
    await writeWhole(join(root, state, file), JSON.stringify(value));
    await rm(join(root, 'working', file));
  };
  const lease = async (file: string): Promise<Lease> => {
    const text = await readFile(join(root, 'working', file), 'utf8');
    const data = (tryParseJson(text, LOCAL_JSON) ?? text) as Json;
    const job = { id: file.slice(0, -'.json'.length), channel: 'default', data, attempt: 1, timeoutMs: 0 };
    return { job, ...code.lease(), signal: closed.signal, report() {}, settle: (outcome) => settle(file, outcome) };
  };
  return {
    name: 'folder',
    // A claim is a rename: of several Workers on one folder, only one gets the file.
    async claim(capacity, signal) {
      const leases: Lease[] = [];
      while (leases.length === 0 && !signal.aborted && !closed.signal.aborted) {
        const files = await readdir(join(root, 'inbox')).catch(() => []);
        for (const file of files.filter((name) => name.endsWith('.json')))
          if (leases.length < capacity && (await move(file, 'inbox', 'working'))) leases.push(await lease(file));
        if (leases.length === 0) await pause(clock, POLL_MS, signal);
      }
      return leases;
    },
    async flush() {},
    async close() {
      closed.abort();
    },
  };
}
