/** Loads the task and makes one way of calling it out of the forms it may have. */
import { pathToFileURL } from 'node:url';
import type { ParentOutput } from '../../../job/job.js';
import type { JobContext } from './context.js';

/** What the class form gets. */
export interface TaskJob {
  readonly id: string;
  readonly data: unknown;
  readonly channel: string;
  readonly attempt: number;
  readonly parents: readonly ParentOutput[];
}

export type Task = (job: TaskJob, context: JobContext) => unknown;

/** CommonJS and ESM alike. Rejects when the module throws, or exports neither a function nor something with `run(job)`. */
export async function loadTask(entry: string): Promise<Task> {
  const namespace = (await import(pathToFileURL(entry).href)) as Record<string, unknown>;
  const task = callable(namespace['default']) ?? callable(unwrap(namespace['default'])) ?? callable(namespace['Task']);
  if (task === undefined) throw new TypeError('the task must export a function, or a class with a method run(job), as its default');
  return task;
}

/** What compilers make of `export default` for CommonJS: `module.exports = { default: … }`. */
function unwrap(exported: unknown): unknown {
  if (typeof exported !== 'object' || exported === null) return undefined;
  const { default: inner, Task } = exported as { default?: unknown; Task?: unknown };
  return inner ?? Task;
}

function callable(exported: unknown): Task | undefined {
  if (typeof exported === 'function') {
    if (hasRun(exported.prototype)) {
      const instance: unknown = Reflect.construct(exported, []);
      return hasRun(instance) ? (job, context) => instance.run(job, context) : undefined;
    }
    return (job, context) => exported(job.data, context);
  }
  return hasRun(exported) ? (job, context) => exported.run(job, context) : undefined;
}

function hasRun(value: unknown): value is { run(job: TaskJob, context: JobContext): unknown } {
  return typeof value === 'object' && value !== null && 'run' in value && typeof value.run === 'function';
}
