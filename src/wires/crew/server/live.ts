import { createHash } from 'node:crypto';
import type { Server as HttpServer, IncomingMessage } from 'node:http';
import type { Namespace, Server, Socket } from 'socket.io';
import { type OptionalPackages, optionalPackage } from '../../../kit/optional-package.js';
import type { GroupRecord, LedgerChange } from '../../../ledger/ledger.js';
import type { Gate } from '../../../master/http/auth.js';
import type { JobService } from '../../../master/job-service.js';
import type { Operator } from './operators.js';
import { findTask, type Task, taskGroup } from './views.js';

const OPERATORS = 'operators';
/** What the routes did not tell themselves is told at most this often, each task once with what it is by then. */
const TELL_MS = 50;
/** What a watcher sends: a group and a token. */
const MAX_MESSAGE_BYTES = 16 * 1024;
const MAX_ROOMS = 1_000;
/** Messages that a watcher has not read yet. */
const MAX_UNREAD = 2_000;
/** Tasks that are to be told of, and tasks of which it is known what was told last. */
const MAX_WAITING = 20_000;
/** Groups of which it is known what was told last. */
const MAX_GROUPS = 2_000;
/** Paths that crew clients take for the address of the server. */
const MAX_NAMESPACES = 16;
const MAX_TRIES = 20;

type TaskEvent = 'task:create' | 'task:update' | 'task:delete';

interface Waiting {
  readonly group: string;
  readonly event: TaskEvent;
  /** Which routes had begun when it was heard: what is under way of these may tell it. */
  readonly at: number;
  readonly tries: number;
}

/**
 * The socket.io events of crew: who watches a group is told what happens to its tasks. Nobody watches: nothing is read.
 *
 * The routes tell at once what crew tells, in its order. What peerwork's own Workers, its API and other Masters do is heard from the ledger and told a little
 * later, unless the last that was told of the task says the same.
 */
export class Live {
  readonly #service: JobService;
  readonly #gate: Gate;
  /** Where the routes of crew are: clients that are given that address take its path for a namespace. */
  readonly #path: string;
  #socketIo: OptionalPackages['socket.io'] | undefined;
  readonly #servers = new Set<Server>();
  readonly #namespaces = new Set<Namespace>();
  readonly #waiting = new Map<string, Waiting>();
  readonly #waitingGroups = new Set<string>();
  /** By task, a digest of what was told of it last. */
  readonly #told = new Map<string, string>();
  readonly #groups = new Map<string, GroupRecord>();
  readonly #quiet = new Map<string, number>();
  /** What routes are at, by when they began: they tell of it themselves. The oldest first. */
  readonly #underWay = new Set<number>();
  #begun = 0;
  readonly #unwatch: () => void;
  #timer: NodeJS.Timeout | undefined;
  #telling = false;

  constructor(service: JobService, gate: Gate, path: string) {
    this.#service = service;
    this.#gate = gate;
    this.#path = path;
    this.#unwatch = service.watch((event) => {
      if (event.kind === 'ledger') this.#take(event.change);
    });
  }

  /** Before `attach`. Rejects with `package-missing`. */
  async open(): Promise<void> {
    this.#socketIo = await optionalPackage('socket.io');
  }

  /** Serves `/socket.io` at the root of this server, as crew does; pages of these origins may use it. */
  attach(server: HttpServer, origins: readonly string[]): void {
    const cors = origins.length === 0 ? {} : { cors: { origin: [...origins] } };
    if (this.#socketIo === undefined) return;
    const io: Server = new this.#socketIo.Server(server, { ...cors, serveClient: false, maxHttpBufferSize: MAX_MESSAGE_BYTES });
    this.#servers.add(io);
    this.#serve(io.of('/'));
    const isPath = (name: string) => name.replace(/\/$/, '').endsWith(this.#path);
    io.of((name, _auth, next) => next(null, isPath(name) && this.#namespaces.size < MAX_NAMESPACES));
    io.on('new_namespace', (namespace) => this.#serve(namespace));
  }

  /** Whether anybody would hear what is told of this group. */
  isWatched(group: string | null | undefined): group is string {
    return typeof group === 'string' && [...this.#namespaces].some(({ adapter }) => adapter.rooms.has(group));
  }

  /** `shown`: the task as it is now, where the event shows an earlier state of it. */
  task(event: TaskEvent, task: Task, shown: Task = task): void {
    if (!this.isWatched(task.taskGroupId)) return;
    this.#note(task._id, event === 'task:delete' ? event : digestOf(shown));
    this.group(task.taskGroupId, event, task);
  }

  /** A new task; that it was told already, and what has become of it since, is not told again. */
  created(task: Task): void {
    if (!this.#told.has(task._id)) this.task('task:create', task);
  }

  group(group: string | null, event: string, payload: unknown): void {
    if (group === null) return;
    for (const namespace of this.#namespaces) {
      this.#dropSlow(namespace, group);
      namespace.to(group).emit(event, payload);
    }
  }

  /** What the routes have told of a group; undefined: that it is gone. */
  toldGroup(id: string, record: GroupRecord | undefined): void {
    this.#groups.delete(id);
    if (record !== undefined && this.isWatched(id)) this.#groups.set(id, record);
    const [oldest] = this.#groups.keys();
    if (this.#groups.size > MAX_GROUPS && oldest !== undefined) this.#groups.delete(oldest);
  }

  /** Something begins that tells of its own changes; the function ends it. */
  begin(): () => void {
    this.#begun += 1;
    const at = this.#begun;
    this.#underWay.add(at);
    return () => this.#underWay.delete(at);
  }

  /** An operation whose one event makes watchers read the whole group again: of its tasks nothing is told. */
  async quietly<T>(group: string, operation: () => Promise<T>): Promise<T> {
    this.#quiet.set(group, (this.#quiet.get(group) ?? 0) + 1);
    try {
      return await operation();
    } finally {
      const left = (this.#quiet.get(group) ?? 1) - 1;
      if (left > 0) this.#quiet.set(group, left);
      else this.#quiet.delete(group);
    }
  }

  operators(event: string, operator: Operator): void {
    this.group(OPERATORS, event, operator);
  }

  async close(): Promise<void> {
    this.#unwatch();
    clearTimeout(this.#timer);
    this.#waiting.clear();
    this.#waitingGroups.clear();
    for (const namespace of this.#namespaces) namespace.disconnectSockets(true);
    // The server below is closed by whoever made it.
    for (const io of this.#servers) io.engine.close();
  }

  #serve(namespace: Namespace): void {
    this.#namespaces.add(namespace);
    namespace.on('connection', (socket) => {
      socket.on('watchTaskGroup', (message: unknown) => void this.#watch(socket, message));
      socket.on('unwatchTaskGroup', (message: unknown) => void socket.leave(roomOf(message)));
    });
  }

  /** Refused silently, as in crew. */
  async #watch(socket: Socket, message: unknown): Promise<void> {
    try {
      const granted = await this.#gate.scopesOf(withToken(socket, message));
      if (!granted.has('read') || socket.rooms.size >= MAX_ROOMS) return;
      const room = roomOf(message);
      await socket.join(room);
      if (room !== OPERATORS && !this.#groups.has(room)) this.toldGroup(room, await this.#service.ledger.getGroup(room));
    } catch (error) {
      this.#service.log.debug('a client may not watch a group', { error });
    }
  }

  /** Who does not read is cut off: what waits for him would have no end. */
  #dropSlow({ adapter, sockets }: Namespace, group: string): void {
    for (const id of adapter.rooms.get(group) ?? []) {
      const socket = sockets.get(id);
      if (socket === undefined) continue;
      const { writeBuffer } = socket.conn as unknown as { readonly writeBuffer: readonly unknown[] };
      if (writeBuffer.length > MAX_UNREAD) socket.disconnect(true);
    }
  }

  #note(id: string, said: string): void {
    this.#told.delete(id);
    this.#told.set(id, said);
    const [oldest] = this.#told.keys();
    if (this.#told.size > MAX_WAITING && oldest !== undefined) this.#told.delete(oldest);
  }

  #take({ jobs, rows }: LedgerChange): void {
    for (const { id, group, state, added } of jobs) {
      if (!this.isWatched(group) || this.#quiet.has(group)) continue;
      const before = this.#waiting.get(id)?.event;
      const event = state === 'deleted' ? 'task:delete' : added === true || before === 'task:create' ? 'task:create' : 'task:update';
      this.#waiting.set(id, { group, event, at: this.#begun, tries: 0 });
      const [oldest] = this.#waiting.keys();
      if (this.#waiting.size > MAX_WAITING && oldest !== undefined) this.#waiting.delete(oldest);
      this.#schedule();
    }
    for (const { kind, id } of rows) {
      if (kind !== 'group' || !this.isWatched(id)) continue;
      this.#waitingGroups.add(id);
      this.#schedule();
    }
  }

  /** One round at a time: a slow ledger does not gather rounds. */
  #schedule(): void {
    if (this.#telling) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#telling = true;
      void this.#tell().finally(() => {
        this.#telling = false;
        if (this.#waiting.size + this.#waitingGroups.size > 0) this.#schedule();
      });
    }, TELL_MS);
  }

  async #tell(): Promise<void> {
    const groups = [...this.#waitingGroups];
    const waiting = [...this.#waiting];
    this.#waitingGroups.clear();
    this.#waiting.clear();
    for (const id of groups) await this.#tellGroup(id);
    for (const [id, entry] of waiting) await this.#tellTask(id, entry);
  }

  async #tellTask(id: string, entry: Waiting): Promise<void> {
    const { group, event, at, tries } = entry;
    const [oldest = Number.POSITIVE_INFINITY] = this.#underWay;
    if (oldest <= at) return this.#later(id, entry);
    const before = this.#told.get(id);
    const task = event === 'task:delete' ? undefined : await findTask(this.#service.ledger, id).catch(() => undefined);
    const told = this.#told.get(id);
    if (task !== undefined && digestOf(task) === told) return;
    // Read while a route was at it, which will tell: only of a task that never rests it is told all the same.
    if (told !== before || (this.#underWay.size > 0 && tries < MAX_TRIES))
      return this.#later(id, { ...entry, at: this.#begun, tries: tries + 1 });
    if (task !== undefined) return this.task(before === undefined ? event : 'task:update', task);
    // With its group, of which all was said.
    if (before === 'task:delete' || (await this.#service.ledger.getGroup(group).catch(() => undefined)) === undefined) return;
    this.#note(id, 'task:delete');
    this.group(group, 'task:delete', { _id: id, taskGroupId: group });
  }

  #later(id: string, entry: Waiting): void {
    if (!this.#waiting.has(id)) this.#waiting.set(id, entry);
  }

  async #tellGroup(id: string): Promise<void> {
    const record = await this.#service.ledger.getGroup(id).catch(() => undefined);
    const before = this.#groups.get(id);
    this.toldGroup(id, record);
    if (before === undefined) return;
    if (record === undefined) this.group(id, 'group:delete', taskGroup(before));
    else {
      if (record.paused !== before.paused) this.group(id, 'group:syncPause', { isPaused: record.paused });
      const named = (group: GroupRecord) => JSON.stringify([group.name, group.meta]);
      if (named(record) !== named(before)) this.group(id, 'task_group:update', taskGroup(record));
    }
  }
}

function digestOf(task: Task): string {
  return createHash('sha1').update(JSON.stringify(task)).digest('base64');
}

function roomOf(message: unknown): string {
  const { taskGroupId } = (typeof message === 'object' && message !== null ? message : {}) as { readonly taskGroupId?: unknown };
  // Anything else may be nested so deep that making text of it ends the process.
  return typeof taskGroupId === 'string' || typeof taskGroupId === 'number' ? String(taskGroupId) : '';
}

/** The token may come with the connection, its `auth`, or the message. */
function withToken({ request, handshake }: Socket, message: unknown): IncomingMessage {
  const said = (typeof message === 'object' && message !== null ? message : {}) as { readonly accessToken?: unknown };
  const token = said.accessToken ?? (handshake.auth['token'] as unknown);
  if (typeof token !== 'string') return request;
  return Object.assign(Object.create(request) as IncomingMessage, { headers: { ...request.headers, authorization: `Bearer ${token}` } });
}
