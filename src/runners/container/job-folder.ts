import { chmod, lstat, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { invalid, type Mount } from '../../containers/container-spec.js';
import type { Job } from '../../job/job.js';
import type { RunContext } from '../../job/runner.js';
import { LinkedFiles } from '../../task/linked-files.js';
import type { ContainerJob } from './settings.js';

/** Paths inside the container, as exposed in its variables: docs/containers.md. */
const INPUT_FILE = '/peerwork/input.json';
const PARENTS_FILE = '/peerwork/parents.json';
const FILES_FOLDER = '/peerwork/files';
const OUT_FOLDER = '/peerwork/out';

/** The files of one job on this machine: its input and its output. */
export class JobFolder {
  readonly folder: string;
  readonly out: string;
  readonly mounts: readonly Mount[];
  readonly env: Readonly<Record<string, string>>;

  private constructor(folder: string, assets: readonly Mount[], job: Job, hasFiles: boolean) {
    this.folder = folder;
    this.out = join(folder, 'out');
    this.mounts = [
      ...assets,
      { source: join(folder, 'input.json'), target: INPUT_FILE },
      ...(job.parents === undefined ? [] : [{ source: join(folder, 'parents.json'), target: PARENTS_FILE }]),
      ...(hasFiles ? [{ source: join(folder, 'files', 'own'), target: FILES_FOLDER }] : []),
      { source: this.out, target: OUT_FOLDER, writable: true },
    ];
    this.env = {
      PEERWORK_INPUT: INPUT_FILE,
      ...(job.parents !== undefined && { PEERWORK_PARENTS: PARENTS_FILE }),
      ...(hasFiles && { PEERWORK_FILES: FILES_FOLDER }),
      PEERWORK_OUT: OUT_FOLDER,
      PEERWORK_JOB_ID: job.id.replace(/[\r\n\0]/g, ' '),
      PEERWORK_CHANNEL: job.channel.replace(/[\r\n\0]/g, ' '),
      PEERWORK_ATTEMPT: String(job.attempt),
    };
  }

  /** Creates a new folder at this path. Rejects with `container-invalid` for files that the task does not have. */
  static async make(
    folder: string,
    wish: ContainerJob,
    job: Job,
    { workplace, files }: Pick<RunContext, 'workplace' | 'files'>,
  ): Promise<JobFolder> {
    const assets: Mount[] = [];
    if (workplace !== undefined)
      for (const { path, at } of wish.assets) assets.push({ source: await assetOf(workplace, path), target: at });
    // The folder is accessible to us alone; its mounts are for whatever user the container runs as.
    await mkdir(folder, { mode: 0o700 });
    const room = new JobFolder(folder, assets, job, files !== undefined);
    await mkdir(room.out);
    await chmod(room.out, 0o777);
    if (files !== undefined) void new LinkedFiles(join(folder, 'files'), files);
    await writeFile(join(folder, 'input.json'), JSON.stringify(wish.input), { mode: 0o444 });
    if (job.parents !== undefined) await writeFile(join(folder, 'parents.json'), JSON.stringify(job.parents), { mode: 0o444 });
    return room;
  }
}

async function assetOf({ folder }: NonNullable<RunContext['workplace']>, path: string): Promise<string> {
  const file = join(folder, path);
  const found = await lstat(file).catch(() => undefined);
  // The only links in a workplace lead to its dependencies, which are not the task's own files.
  if (found === undefined || !(found.isFile() || found.isDirectory())) throw invalid(`input: the task has no ${path}`);
  return file;
}
