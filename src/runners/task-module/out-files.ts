import { renameSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { asPeerworkError } from '../../errors.js';
import type { Outcome } from '../../job/job.js';
import { jobErrorOf } from '../../job/job-error.js';
import type { RunContext } from '../../job/runner.js';
import type { Clearing } from '../../kit/clearing.js';
import { openOutFolder } from '../../task/out-folder.js';
import { OUT_FOLDER } from './child/wire.js';
import type { Handed } from './job-line.js';
import type { Run } from './run.js';

/** Moves what a job left for its outcome out of its child's reach. False if this job does not run, or has left files before. */
export function takeOut(head: Handed | undefined, workdir: string, number: number): boolean {
  if (head?.number !== number || head.run.outFolder !== undefined) return false;
  const taken = join(dirname(workdir), `out-${basename(workdir)}-${number}`);
  try {
    renameSync(join(workdir, OUT_FOLDER), taken);
    head.run.outFolder = taken;
  } catch {
    // The task has removed it, or put something else there: there is nothing to return.
  }
  return true;
}

/** Returns the outcome of a run with the files that it left. Files that cannot be returned fail the run. */
export async function outcomeWithFiles(run: Run, { keepFiles, report, signal }: RunContext, leftovers: Clearing): Promise<Outcome> {
  const outcome = await run.ended;
  const folder = run.outFolder;
  if (folder === undefined) return outcome;
  try {
    if (outcome.state === 'released' || signal.aborted) return outcome;
    if (keepFiles === undefined) {
      report({ kind: 'log', stream: 'log', line: 'this queue takes no files: those in context.outdir are dropped' });
      return outcome;
    }
    const files = await keepFiles(openOutFolder(folder));
    return Object.keys(files).length === 0 ? outcome : { ...outcome, files };
  } catch (thrown) {
    const error = asPeerworkError(thrown);
    // What the run itself failed with says more.
    if (outcome.state === 'failed') return outcome;
    return { state: 'failed', error: jobErrorOf(error), retry: error.code !== 'files-invalid' };
  } finally {
    void leftovers.add(folder);
  }
}
