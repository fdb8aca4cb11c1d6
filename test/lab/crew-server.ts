import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

type Fields = Record<string, unknown>;

export interface LabTask extends Fields {
  readonly _id: string;
  readonly channel: string;
  errors: unknown[];
  remainingAttempts: number;
  assignedTo: string | null;
  isComplete: boolean;
  runAfter: string | null;
  parentIds: string[];
}

/** Replaces a response in a test; undefined means the usual one. */
export type Misbehaviour = (
  request: { readonly method: string; readonly path: string; readonly body: Fields },
  response: ServerResponse,
) => unknown;

/**
 * An in-memory crew server that behaves like 1.0.25 on the wire: acquire in order, idempotent release, no leases and no give-back,
 * falsy outputs lost, forward references of children dropped, `Worker id did not match!`. It survives its own restarts, like one
 * with a database.
 */
export class CrewServer {
  readonly tasks = new Map<string, LabTask>();
  readonly requests: {
    readonly method: string;
    readonly path: string;
    readonly body: Fields;
    readonly headers: IncomingMessage['headers'];
  }[] = [];
  misbehave: Misbehaviour | undefined;
  /** Where acquire puts the parents' outputs. */
  parentsInside = false;
  #server: Server | undefined;
  #port = 0;
  #serial = 0;

  get url(): string {
    return `http://127.0.0.1:${this.#port}/`;
  }

  async start(): Promise<void> {
    const server = createServer((request, response) => void this.#handle(request, response));
    server.listen(this.#port, '127.0.0.1');
    await once(server, 'listening');
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** Stops as if killed: connections end, tasks stay. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  }

  add(channel: string, fields: Fields = {}): LabTask {
    this.#serial += 1;
    const task: LabTask = {
      _id: this.#serial.toString(16).padStart(24, '0'),
      ...{ channel, errors: [], remainingAttempts: 5, assignedTo: null, isComplete: false, runAfter: null, parentIds: [] },
      ...{ input: null, output: null, workgroup: null, errorDelayInSeconds: 0 },
      ...fields,
    };
    this.tasks.set(task._id, task);
    return task;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const body = chunks.length === 0 ? {} : (JSON.parse(Buffer.concat(chunks).toString()) as Fields);
    const { method = '', url: path = '', headers } = request;
    this.requests.push({ method, path, body, headers });
    if (this.misbehave?.({ method, path, body }, response) !== undefined) return;
    const { status, answer } = this.#answer(method, path, body);
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
  }

  #answer(method: string, path: string, body: Fields): { readonly status: number; readonly answer: unknown } {
    const [, channel] = /^\/api\/v1\/channel\/([^/]+)\/acquire$/.exec(path) ?? [];
    if (channel !== undefined) return { status: 200, answer: this.#acquire(decodeURIComponent(channel), String(body['workerId'])) };
    const [, listed] = /^\/api\/v1\/channel\/([^/]+)\/tasks\b/.exec(path) ?? [];
    if (listed !== undefined) return { status: 200, answer: [...this.tasks.values()].filter((task) => task.channel === listed).reverse() };
    const [, id = '', verb] = /^\/api\/v1\/task\/([^/]+)(?:\/(\w+))?$/.exec(path) ?? [];
    const task = this.tasks.get(id);
    if (task === undefined)
      return verb === undefined
        ? { status: 404, answer: { message: `Task with id ${id} not found!` } }
        : { status: 500, answer: { message: 'Unable to find task!' } };
    if (method === 'GET') return { status: 200, answer: task };
    if (verb === 'reset') {
      Object.assign(task, { isComplete: false, errors: [], output: null, runAfter: null, assignedTo: null });
      task.remainingAttempts = Number(body['remainingAttempts'] ?? 2);
      return { status: 200, answer: task };
    }
    if (task.isComplete) return { status: 200, answer: task };
    if (task.assignedTo !== body['workerId']) return { status: 500, answer: { message: 'Worker id did not match!' } };
    this.#release(task, body);
    return { status: 200, answer: task };
  }

  #acquire(channel: string, workerId: string): unknown {
    const isDone = (id: string) => this.tasks.get(id)?.isComplete === true;
    const task = [...this.tasks.values()].find(
      ({ channel: own, assignedTo, isComplete, remainingAttempts, runAfter, parentIds }) =>
        own === channel &&
        assignedTo === null &&
        !isComplete &&
        remainingAttempts > 0 &&
        !(runAfter && Date.parse(runAfter) > Date.now()) &&
        parentIds.every(isDone),
    );
    if (task === undefined) return { task: null };
    task.assignedTo = workerId;
    const parents = task.parentIds.map((id) => {
      const { _id, channel: own, input, output } = (this.tasks.get(id) ?? { _id: id }) as Fields;
      return { _id, channel: own, input, output };
    });
    return this.parentsInside ? { task: { ...task, parents } } : { task, parents };
  }

  #release(task: LabTask, { error, output, children, workgroupDelayInSeconds, childrenDelayInSeconds }: Fields): void {
    const later = (seconds: unknown) => new Date(Date.now() + Number(seconds) * 1_000).toISOString();
    task.assignedTo = null;
    if (error) {
      task.remainingAttempts -= 1;
      task.errors.push(error);
      if (task['errorDelayInSeconds']) task.runAfter = later(task['errorDelayInSeconds']);
    } else {
      Object.assign(task, { output: output || null, isComplete: true, remainingAttempts: 0 });
      const made = new Map<unknown, string>();
      for (const { _child_id: ref, _parent_ids: refs, ...fields } of (children ?? []) as Fields[]) {
        const parentIds = Array.isArray(refs) ? refs.map((each) => made.get(each)) : [task._id];
        // Silently lost.
        if (parentIds.includes(undefined)) continue;
        const child = this.add(String(fields['channel']), { ...fields, parentIds });
        if (childrenDelayInSeconds) child.runAfter ??= later(childrenDelayInSeconds);
        made.set(ref, child._id);
      }
    }
    if (workgroupDelayInSeconds && task['workgroup'])
      for (const each of this.tasks.values())
        if (each['workgroup'] === task['workgroup'] && !each.isComplete) each.runAfter = later(workgroupDelayInSeconds);
  }
}
