import { join } from 'node:path';
import type { FileRef, JobFiles } from '../../job/files.js';
import type { Job, ParentOutput } from '../../job/job.js';
import type { FilePaths } from '../../job/runner.js';
import { LinkedFiles } from '../../task/linked-files.js';
import type { ChildFiles, ChildParent, JobLine, TunnelAddress } from './child/wire.js';
import type { Run } from './run.js';

/** What a child gives the run of a job. */
export interface JobPlaces {
  readonly tunnel: TunnelAddress | undefined;
  /** Where the child reads files of its jobs. */
  readonly filesFolder: string;
}

/** A job that its child has been handed. */
export interface Handed {
  readonly number: number;
  readonly run: Run;
  /** Characters on the wire. */
  readonly size: number;
  /** To be removed when the job has ended. */
  readonly files: LinkedFiles | undefined;
}

/** Places the files of a job and writes its line. Throws the system's error, or for data that JSON cannot represent. */
export function prepareJob(
  number: number,
  run: Run,
  { tunnel, filesFolder }: JobPlaces,
): { readonly line: string; readonly handed: Handed } {
  const { files, job } = run;
  const prepared = (line: string, linked?: LinkedFiles) => ({ line, handed: { number, run, size: line.length, files: linked } });
  const { id, attempt, channel, data, parents } = job;
  const line = ['job', number, id, attempt, channel, data] as const;
  // Most jobs have nothing further, and thousands of lines are written per second.
  if (files === undefined && tunnel === undefined)
    return prepared(text(parents === undefined ? line : [...line, parents.map(withoutFiles)]));
  if (files === undefined) return prepared(text([...line, parents?.map(withoutFiles) ?? [], tunnel ?? null]));
  const linked = new LinkedFiles(join(filesFolder, String(number)), files);
  try {
    return prepared(text([...line, parentsWith(linked, parents), tunnel ?? null, childFiles(linked, job)]), linked);
  } catch (error) {
    linked.remove();
    throw error;
  }
}

function text(line: JobLine): string {
  return `${JSON.stringify(line)}\n`;
}

function parentsWith({ paths }: LinkedFiles, parents: Job['parents'] = []): readonly ChildParent[] {
  return parents.map(({ files, ...parent }, at) => ({ ...parent, ...(files !== undefined && { files: paths.parents[at] ?? {} }) }));
}

function childFiles({ paths }: LinkedFiles, { files = {}, parents = [] }: Job): ChildFiles {
  const refs = new Map<string, FileRef>();
  const enter = (refsByName: JobFiles, pathsByName: FilePaths = {}) => {
    for (const [name, ref] of Object.entries(refsByName)) refs.set(pathsByName[name] ?? '', ref);
  };
  enter(files, paths.own);
  for (const [at, parent] of parents.entries()) enter(parent.files ?? {}, paths.parents[at]);
  return { paths: paths.own, refs: Object.fromEntries(refs) };
}

/** Where nothing was fetched, as by a source of an embedding program. */
function withoutFiles({ files: _, ...parent }: ParentOutput): ChildParent {
  return parent;
}
