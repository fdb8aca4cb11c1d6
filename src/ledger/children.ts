import { PeerworkError } from '../errors.js';
import type { ChildInput } from '../job/job.js';
import type { CheckedJob } from '../job/job-fields.js';
import { checkJobInput } from '../job/job-input.js';
import { check, text } from '../job/kinds.js';
import { MAX_CHILDREN, MAX_JOB_ID_CHARS } from '../job/limits.js';
import { addJobs } from './add.js';
import { findCycle } from './graph.js';
import type { RunRow } from './job-row.js';
import type { Adding } from './operations.js';
import type { Transaction } from './transaction.js';

/** A validated child. `parents` are indexes of its siblings; undefined means the job that creates it. */
export interface CheckedChild {
  readonly job: CheckedJob;
  readonly parents: readonly number[] | undefined;
  /** Whether it sets its own priority. */
  readonly prioritized: boolean;
}

/**
 * Validates children before anything is written. Siblings may refer to each other in any order. Throws `children-invalid` with the reason.
 */
export function checkChildren(children: readonly ChildInput[], now: number): CheckedChild[] {
  if (children.length > MAX_CHILDREN) throw invalid(`there are more than ${MAX_CHILDREN}`);
  const byRef = new Map<string, number>();
  for (const [index, child] of children.entries()) {
    if (typeof child !== 'object' || child === null || Array.isArray(child)) throw invalid(`child ${index} is not an object`);
    if (child.ref === undefined) continue;
    const ref = within(index, () => check(text(MAX_JOB_ID_CHARS), child.ref, 'ref'));
    if (byRef.has(ref)) throw invalid(`two children are called ${JSON.stringify(ref)}`);
    byRef.set(ref, index);
  }
  const checked = children.map((child, index) => {
    const { ref: _, parents, ...input } = child;
    if ('group' in input) throw invalid(`child ${index}: it joins the group of its creator`);
    const job = within(index, () => checkJobInput(input, now));
    const prioritized = input.priority !== undefined;
    if (parents === undefined) return { job, parents, prioritized };
    if (!Array.isArray(parents)) throw invalid(`child ${index}: parents is not a list`);
    const siblings = new Set(
      (parents as readonly unknown[]).map((name) => {
        const sibling = typeof name === 'string' ? byRef.get(name) : undefined;
        if (sibling === undefined) throw invalid(`child ${index}: no sibling is called ${JSON.stringify(name) ?? 'undefined'}`);
        return sibling;
      }),
    );
    return { job, parents: [...siblings], prioritized };
  });
  const cycle = findCycle(checked.length, (index) => checked[index]?.parents ?? []);
  if (cycle !== undefined) throw invalid(`they wait for each other in a cycle: ${cycle.map((index) => children[index]?.ref).join(' → ')}`);
  return checked;
}

function within<T>(index: number, check: () => T): T {
  try {
    return check();
  } catch (thrown) {
    throw thrown instanceof PeerworkError ? invalid(`child ${index}: ${thrown.detail}`) : thrown;
  }
}

function invalid(detail: string): PeerworkError {
  return new PeerworkError('children-invalid', detail);
}

/** Creates the children of a run that completes in this transaction, before its completion is written. */
export async function createChildren(
  transaction: Transaction,
  creator: RunRow,
  children: readonly CheckedChild[],
  adding: Adding,
): Promise<void> {
  if (children.length === 0) return;
  // Siblings refer to each other by id, so those without one get it before they are added.
  const first = await transaction.draw('job', children.length);
  const ids = children.map(({ job }, index) => job.id ?? `${creator.id.slice(0, 150)}/${(first + index).toString(36)}`);
  const jobs = children.map(({ job, parents }, index): CheckedJob => {
    const names = parents?.map((sibling) => ids[sibling] ?? '') ?? [creator.id];
    return { ...job, id: ids[index], parents: names };
  });
  await addJobs(transaction, jobs, { ...adding, grp: creator.grp });
}
