import type { Server as HttpServer, IncomingMessage } from 'node:http';
import { Server, type Socket } from 'socket.io';
import type { LedgerChange } from '../../ledger/ledger.js';
import type { Desk } from '../desk.js';
import type { Gate } from '../http/auth.js';
import type { Operator } from './operators.js';
import { findTask, type Task, taskGroup } from './views.js';

const OPERATORS = 'operators';
/** Watched changes are told at most this often, each task once with what it is by then. */
const TELL_MS = 50;
/** What a watcher sends: a group and a token. */
const MAX_MESSAGE_BYTES = 16 * 1024;
const MAX_ROOMS = 1_000;
/** Messages that a watcher has not read yet. */
const MAX_UNREAD = 2_000;
/** Tasks that are to be told of. */
const MAX_WAITING = 20_000;

/** The socket.io events of crew: who watches a group is told what happens to its tasks. Nobody watches: nothing is read. */
export class Live {
  readonly #desk: Desk;
  readonly #gate: Gate;
  readonly #servers = new Set<Server>();
  readonly #waiting = new Map<string, { readonly group: string; readonly event: 'task:create' | 'task:update' | 'task:delete' }>();
  readonly #unwatch: () => void;
  #timer: NodeJS.Timeout | undefined;
  #telling = false;

  constructor(desk: Desk, gate: Gate) {
    this.#desk = desk;
    this.#gate = gate;
    this.#unwatch = desk.watch((event) => {
      if (event.kind === 'ledger') this.#take(event.change);
    });
  }

  /** Serves `/socket.io` at the root of this server, as crew does. */
  attach(server: HttpServer): void {
    const io = new Server(server, { serveClient: false, maxHttpBufferSize: MAX_MESSAGE_BYTES });
    this.#servers.add(io);
    io.on('connection', (socket) => {
      socket.on('watchTaskGroup', (message: unknown) => void this.#watch(socket, message));
      socket.on('unwatchTaskGroup', (message: unknown) => void socket.leave(roomOf(message)));
    });
  }

  task(event: 'task:create' | 'task:update' | 'task:delete', task: Task): void {
    this.group(task.taskGroupId, event, task);
  }

  group(group: string | null, event: string, payload: unknown): void {
    if (group === null) return;
    for (const io of this.#servers) {
      this.#dropSlow(io, group);
      io.to(group).emit(event, payload);
    }
  }

  operators(event: string, operator: Operator): void {
    this.group(OPERATORS, event, operator);
  }

  async close(): Promise<void> {
    this.#unwatch();
    clearTimeout(this.#timer);
    this.#waiting.clear();
    for (const io of this.#servers) {
      io.disconnectSockets(true);
      // The server below is closed by whoever made it.
      io.engine.close();
    }
  }

  /** Refused silently, as in crew. */
  async #watch(socket: Socket, message: unknown): Promise<void> {
    try {
      const granted = await this.#gate.scopesOf(withToken(socket, message));
      if (granted.has('read') && socket.rooms.size < MAX_ROOMS) await socket.join(roomOf(message));
    } catch (error) {
      this.#desk.log.debug('somebody may not watch a group', { error });
    }
  }

  /** Who does not read is cut off: what waits for him would have no end. */
  #dropSlow(io: Server, group: string): void {
    for (const id of io.sockets.adapter.rooms.get(group) ?? []) {
      const socket = io.sockets.sockets.get(id);
      if (socket === undefined) continue;
      const { writeBuffer } = socket.conn as unknown as { readonly writeBuffer: readonly unknown[] };
      if (writeBuffer.length > MAX_UNREAD) socket.disconnect(true);
    }
  }

  #isWatched(group: string): boolean {
    return [...this.#servers].some((io) => io.sockets.adapter.rooms.has(group));
  }

  #take({ jobs, rows }: LedgerChange): void {
    for (const { id, group, state, added } of jobs) {
      if (group === undefined || !this.#isWatched(group)) continue;
      const before = this.#waiting.get(id)?.event;
      const event = state === 'deleted' ? 'task:delete' : added === true || before === 'task:create' ? 'task:create' : 'task:update';
      this.#waiting.set(id, { group, event });
      const [oldest] = this.#waiting.keys();
      if (this.#waiting.size > MAX_WAITING && oldest !== undefined) this.#waiting.delete(oldest);
      this.#schedule();
    }
    for (const { kind, id } of rows) if (kind === 'group' && this.#isWatched(id)) void this.#tellGroup(id);
  }

  /** One round at a time: a slow ledger does not gather rounds. */
  #schedule(): void {
    if (this.#telling) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#telling = true;
      void this.#tell().finally(() => {
        this.#telling = false;
        if (this.#waiting.size > 0) this.#schedule();
      });
    }, TELL_MS);
  }

  async #tell(): Promise<void> {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const [id, { group, event }] of waiting) {
      const task = event === 'task:delete' ? undefined : await findTask(this.#desk.ledger, id).catch(() => undefined);
      if (task !== undefined) this.task(event, task);
      else this.group(group, 'task:delete', { _id: id, taskGroupId: group });
    }
  }

  async #tellGroup(id: string): Promise<void> {
    const record = await this.#desk.ledger.getGroup(id).catch(() => undefined);
    if (record !== undefined) this.group(id, 'task_group:update', taskGroup(record));
  }
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
