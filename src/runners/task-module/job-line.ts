import { join } from 'node:path';
import type { Job } from '../../job/job.js';
import { LinkedFiles } from '../../task/linked-files.js';
import type { ChildFiles, JobLine, TunnelAddress } from './child/wire.js';

/** What the run of a job is given besides the job. */
export interface JobPlaces {
  readonly tunnel: TunnelAddress | undefined;
  /** Paths of its files by name; undefined if it has none. */
  readonly files: Readonly<Record<string, string>> | undefined;
  /** Where the child reads files of its jobs. */
  readonly filesFolder: string;
}

/** A job as its child reads it. */
export interface PreparedJob {
  readonly line: string;
  /** To be removed when the job has ended. */
  readonly files: LinkedFiles | undefined;
}

/** Places the files of a job and writes its line. Throws the system's error, or for data that JSON cannot represent. */
export function prepareJob(number: number, job: Job, { tunnel, files, filesFolder }: JobPlaces): PreparedJob {
  const { id, attempt, channel, data, parents } = job;
  const line = ['job', number, id, attempt, channel, data] as const;
  // Most jobs have nothing further, and thousands of lines are written per second.
  if (files === undefined && tunnel === undefined) return { line: text(parents === undefined ? line : [...line, parents]), files };
  if (files === undefined) return { line: text([...line, parents ?? [], tunnel ?? null]), files };
  const linked = new LinkedFiles(join(filesFolder, String(number)), files);
  try {
    return { line: text([...line, parents ?? [], tunnel ?? null, childFiles(linked, job.files)]), files: linked };
  } catch (error) {
    linked.remove();
    throw error;
  }
}

function text(line: JobLine): string {
  return `${JSON.stringify(line)}\n`;
}

function childFiles({ paths }: LinkedFiles, files: Job['files'] = {}): ChildFiles {
  return Object.fromEntries(Object.entries(files).map(([name, file]) => [name, { ...file, path: paths[name] ?? '' }]));
}
