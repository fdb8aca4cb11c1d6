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
/** Batching interval for changes that the routes did not report themselves; each task is reported once, in its state by then. */
const REPORT_INTERVAL_MS = 50;
/** Limit for a message of a watcher, which holds a group and a token. */
const MAX_MESSAGE_BYTES = 16 * 1024;
const MAX_ROOMS = 1_000;
/** Watchers with more unread messages than this are disconnected. */
const MAX_UNREAD = 2_000;
/** Limit for pending task events, and for the digests of tasks last reported. */
const MAX_PENDING = 20_000;
/** Limit for remembered group states. */
const MAX_GROUPS = 2_000;
/** Limit for namespaces: crew clients mistake the path of the server's address for one. */
const MAX_NAMESPACES = 16;
const MAX_TRIES = 20;

type TaskEvent = 'task:create' | 'task:update' | 'task:delete';

interface PendingEvent {
  readonly group: string;
  readonly event: TaskEvent;
  /** Value of `#begun` when the change arrived: routes that began no later and are still in flight may report it themselves. */
  readonly at: number;
  readonly tries: number;
}

/**
 * The socket.io events of crew: clients that watch a group are notified of changes to its tasks. Without watchers, nothing is read from the
 * ledger.
 *
 * The routes report what crew reports, immediately and in its order. Changes by peerwork's own Workers, its API and other Masters are
 * observed in the ledger and reported up to `REPORT_INTERVAL_MS` later, unless the last report of the task already shows the same state.
 */
export class Live {
  readonly #service: JobService;
  readonly #gate: Gate;
  /** Path prefix of the crew routes; clients configured with that address use its path as a namespace. */
  readonly #path: string;
  #socketIo: OptionalPackages['socket.io'] | undefined;
  readonly #servers = new Set<Server>();
  readonly #namespaces = new Set<Namespace>();
  readonly #pending = new Map<string, PendingEvent>();
  readonly #pendingGroups = new Set<string>();
  /** Digest of the last report, by task. */
  readonly #reported = new Map<string, string>();
  readonly #groups = new Map<string, GroupRecord>();
  readonly #suppressed = new Map<string, number>();
  /** Routes in flight, by the value of `#begun` at their start, oldest first; they report their own changes. */
  readonly #inFlight = new Set<number>();
  #begun = 0;
  readonly #unwatch: () => void;
  #timer: NodeJS.Timeout | undefined;
  #flushing = false;

  constructor(service: JobService, gate: Gate, path: string) {
    this.#service = service;
    this.#gate = gate;
    this.#path = path;
    this.#unwatch = service.watch((event) => {
      if (event.kind === 'ledger') this.#onLedgerChange(event.change);
    });
  }

  /** Must be called before `attach`. Rejects with `package-missing` if socket.io is not installed. */
  async open(): Promise<void> {
    this.#socketIo = await optionalPackage('socket.io');
  }

  /** Serves `/socket.io` at the root of this server, as crew does; browser pages of these origins may connect. */
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

  /** Whether any client watches this group. */
  isWatched(group: string | null | undefined): group is string {
    return typeof group === 'string' && [...this.#namespaces].some(({ adapter }) => adapter.rooms.has(group));
  }

  /** Reports a task event. `shown` is the current state of the task if the event carries an earlier one. */
  task(event: TaskEvent, task: Task, shown: Task = task): void {
    if (!this.isWatched(task.taskGroupId)) return;
    this.#remember(task._id, event === 'task:delete' ? event : digestOf(shown));
    this.group(task.taskGroupId, event, task);
  }

  /** Reports a new task, unless it has been reported already, possibly in a later state. */
  created(task: Task): void {
    if (!this.#reported.has(task._id)) this.task('task:create', task);
  }

  group(group: string | null, event: string, payload: unknown): void {
    if (group === null) return;
    for (const namespace of this.#namespaces) {
      this.#dropSlow(namespace, group);
      namespace.to(group).emit(event, payload);
    }
  }

  /** Remembers the group state that the routes reported last; undefined if the group is gone. */
  rememberGroup(id: string, record: GroupRecord | undefined): void {
    this.#groups.delete(id);
    if (record !== undefined && this.isWatched(id)) this.#groups.set(id, record);
    const [oldest] = this.#groups.keys();
    if (this.#groups.size > MAX_GROUPS && oldest !== undefined) this.#groups.delete(oldest);
  }

  /** Marks the start of an operation that reports its own changes; the returned function marks its end. */
  begin(): () => void {
    this.#begun += 1;
    const at = this.#begun;
    this.#inFlight.add(at);
    return () => this.#inFlight.delete(at);
  }

  /**
   * Runs an operation whose single event makes watchers reload the whole group, and suppresses the events of the group's tasks meanwhile.
   */
  async suppressingTasks<T>(group: string, operation: () => Promise<T>): Promise<T> {
    this.#suppressed.set(group, (this.#suppressed.get(group) ?? 0) + 1);
    try {
      return await operation();
    } finally {
      const left = (this.#suppressed.get(group) ?? 1) - 1;
      if (left > 0) this.#suppressed.set(group, left);
      else this.#suppressed.delete(group);
    }
  }

  operators(event: string, operator: Operator): void {
    this.group(OPERATORS, event, operator);
  }

  async close(): Promise<void> {
    this.#unwatch();
    clearTimeout(this.#timer);
    this.#pending.clear();
    this.#pendingGroups.clear();
    for (const namespace of this.#namespaces) namespace.disconnectSockets(true);
    // The HTTP server is closed by its owner.
    for (const io of this.#servers) io.engine.close();
  }

  #serve(namespace: Namespace): void {
    this.#namespaces.add(namespace);
    namespace.on('connection', (socket) => {
      socket.on('watchTaskGroup', (message: unknown) => void this.#watch(socket, message));
      socket.on('unwatchTaskGroup', (message: unknown) => void socket.leave(roomOf(message)));
    });
  }

  /** Ignores unauthorized requests silently, as crew does. */
  async #watch(socket: Socket, message: unknown): Promise<void> {
    try {
      const granted = await this.#gate.scopesOf(withToken(socket, message));
      if (!granted.has('read') || socket.rooms.size >= MAX_ROOMS) return;
      const room = roomOf(message);
      await socket.join(room);
      if (room !== OPERATORS && !this.#groups.has(room)) this.rememberGroup(room, await this.#service.ledger.getGroup(room));
    } catch (error) {
      this.#service.log.debug('a client may not watch a group', { error });
    }
  }

  /** Disconnects watchers that do not read, since their queue would grow without bound. */
  #dropSlow({ adapter, sockets }: Namespace, group: string): void {
    for (const id of adapter.rooms.get(group) ?? []) {
      const socket = sockets.get(id);
      if (socket === undefined) continue;
      const { writeBuffer } = socket.conn as unknown as { readonly writeBuffer: readonly unknown[] };
      if (writeBuffer.length > MAX_UNREAD) socket.disconnect(true);
    }
  }

  #remember(id: string, digest: string): void {
    this.#reported.delete(id);
    this.#reported.set(id, digest);
    const [oldest] = this.#reported.keys();
    if (this.#reported.size > MAX_PENDING && oldest !== undefined) this.#reported.delete(oldest);
  }

  #onLedgerChange({ jobs, rows }: LedgerChange): void {
    for (const { id, group, state, added } of jobs) {
      if (!this.isWatched(group) || this.#suppressed.has(group)) continue;
      const before = this.#pending.get(id)?.event;
      const event = state === 'deleted' ? 'task:delete' : added === true || before === 'task:create' ? 'task:create' : 'task:update';
      this.#pending.set(id, { group, event, at: this.#begun, tries: 0 });
      const [oldest] = this.#pending.keys();
      if (this.#pending.size > MAX_PENDING && oldest !== undefined) this.#pending.delete(oldest);
      this.#schedule();
    }
    for (const { kind, id } of rows) {
      if (kind !== 'group' || !this.isWatched(id)) continue;
      this.#pendingGroups.add(id);
      this.#schedule();
    }
  }

  /** One batch at a time, so that batches do not pile up behind a slow ledger. */
  #schedule(): void {
    if (this.#flushing) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#flushing = true;
      void this.#flush().finally(() => {
        this.#flushing = false;
        if (this.#pending.size + this.#pendingGroups.size > 0) this.#schedule();
      });
    }, REPORT_INTERVAL_MS);
  }

  async #flush(): Promise<void> {
    const groups = [...this.#pendingGroups];
    const waiting = [...this.#pending];
    this.#pendingGroups.clear();
    this.#pending.clear();
    for (const id of groups) await this.#reportGroup(id);
    for (const [id, entry] of waiting) await this.#reportTask(id, entry);
  }

  async #reportTask(id: string, entry: PendingEvent): Promise<void> {
    const { group, event, at, tries } = entry;
    const [oldest = Number.POSITIVE_INFINITY] = this.#inFlight;
    if (oldest <= at) return this.#postpone(id, entry);
    const before = this.#reported.get(id);
    const task = event === 'task:delete' ? undefined : await findTask(this.#service.ledger, id).catch(() => undefined);
    const reported = this.#reported.get(id);
    if (task !== undefined && digestOf(task) === reported) return;
    // The task was read while a route was in flight, which will report it. After MAX_TRIES, a task that keeps changing is reported anyway.
    if (reported !== before || (this.#inFlight.size > 0 && tries < MAX_TRIES))
      return this.#postpone(id, { ...entry, at: this.#begun, tries: tries + 1 });
    if (task !== undefined) return this.task(before === undefined ? event : 'task:update', task);
    // Deleted together with its group, whose event covers it.
    if (before === 'task:delete' || (await this.#service.ledger.getGroup(group).catch(() => undefined)) === undefined) return;
    this.#remember(id, 'task:delete');
    this.group(group, 'task:delete', { _id: id, taskGroupId: group });
  }

  #postpone(id: string, entry: PendingEvent): void {
    if (!this.#pending.has(id)) this.#pending.set(id, entry);
  }

  async #reportGroup(id: string): Promise<void> {
    const record = await this.#service.ledger.getGroup(id).catch(() => undefined);
    const before = this.#groups.get(id);
    this.rememberGroup(id, record);
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
  // Any other value may be nested so deeply that serializing it overflows the stack.
  return typeof taskGroupId === 'string' || typeof taskGroupId === 'number' ? String(taskGroupId) : '';
}

/** Returns the request with the token of the message or of the connection's `auth` as its authorization. */
function withToken({ request, handshake }: Socket, message: unknown): IncomingMessage {
  const fields = (typeof message === 'object' && message !== null ? message : {}) as { readonly accessToken?: unknown };
  const token = fields.accessToken ?? (handshake.auth['token'] as unknown);
  if (typeof token !== 'string') return request;
  return Object.assign(Object.create(request) as IncomingMessage, { headers: { ...request.headers, authorization: `Bearer ${token}` } });
}
