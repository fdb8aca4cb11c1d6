/** Loads the task and turns its possible forms into a single way of calling it. */

import { pathToFileURL } from 'node:url';
import type { JobContext } from './context.js';
import { isArray, keysOf } from './primordials.js';
import type { ChildParent } from './wire.js';

/** As in job/pushed.ts, which a child cannot import. */
const PUSHED = 'queue-xec:job';

export type Task = (given: Given, context: JobContext) => unknown;

/** Supports CommonJS and ESM. Rejects if the module throws, or exports neither a function nor an object with `run(job)`. */
export async function loadTask(entry: string): Promise<Task> {
  const namespace = (await import(pathToFileURL(entry).href)) as Record<string, unknown>;
  const task = callable(namespace['default']) ?? callable(unwrap(namespace['default'])) ?? callable(namespace['Task']);
  if (task === undefined) throw new TypeError('the task must export a function, or a class with a method run(job), as its default');
  return task;
}

/** Unwraps what compilers generate for `export default` in CommonJS: `module.exports = { default: … }`. */
function unwrap(exported: unknown): unknown {
  if (typeof exported !== 'object' || exported === null) return undefined;
  const { default: inner, Task } = exported as { default?: unknown; Task?: unknown };
  return inner ?? Task;
}

function callable(exported: unknown): Task | undefined {
  if (typeof exported === 'function') {
    if (hasRun(exported.prototype)) {
      const instance: unknown = Reflect.construct(exported, []);
      return hasRun(instance) ? ({ job }, context) => instance.run(job, context) : undefined;
    }
    return ({ data }, context) => exported(data, context);
  }
  return hasRun(exported) ? ({ job }, context) => exported.run(job, context) : undefined;
}

function hasRun(value: unknown): value is { run(job: unknown, context: JobContext): unknown } {
  return typeof value === 'object' && value !== null && 'run' in value && typeof value.run === 'function';
}

/** What a task is called with: a class or an object receives the job, a function its data. */
interface Given {
  readonly job: unknown;
  readonly data: unknown;
}

/** The fields of our own job. */
interface TaskJob {
  readonly id: string;
  readonly data: unknown;
  readonly channel: string;
  readonly attempt: number;
  readonly parents: readonly ChildParent[];
}

/** A job pushed in queue-xec's way is what was pushed; our fields are added only where it has none of that name. */
export function givenOf(job: TaskJob): Given {
  const { data } = job;
  if (!isObject(data)) return { job, data };
  const keys = keysOf(data);
  if (keys.length !== 1 || keys[0] !== PUSHED) return { job, data };
  const payload = data[PUSHED];
  if (!isObject(payload)) return { job: payload, data: payload };
  const { id, channel, attempt, parents } = job;
  return { job: { id, channel, attempt, parents, ...payload }, data: 'data' in payload ? payload['data'] : payload };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !isArray(value);
}
