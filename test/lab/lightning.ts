import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';

/**
 * A fake OpenFn Lightning that follows the wire protocol, for one or many workers. It can respond in the style of the real server
 * (`phx_reply`, binary dataclips, heartbeats) or of the mock (`chan_reply_<ref>`, number arrays, no heartbeats), omit or refuse
 * responses, and be stopped and restarted on the same port with its state.
 */
export interface LightningOptions {
  readonly style?: 'real' | 'mock';
  readonly port?: number;
  /** Creates the token of a run. */
  readonly tokenOf?: (runId: string) => string;
  /** Overrides the response to a request; undefined means the normal response. */
  readonly meddle?: (request: SeenRequest) => Answer | undefined;
  /** Whether to accept a connection. */
  readonly accepts?: (url: URL) => boolean;
}

/** What a run of two steps sends, without logs. */
export const eventsOfTwoSteps = [
  'phx_join',
  'fetch:plan',
  'fetch:dataclip',
  'fetch:credential',
  'run:start',
  'step:start',
  'step:complete',
  'step:start',
  'step:complete',
  'run:complete',
  'phx_leave',
];

export type Answer =
  | { readonly kind: 'silence' }
  | { readonly kind: 'error'; readonly response: unknown }
  | { readonly kind: 'raw'; readonly frames: readonly (string | Buffer)[] }
  /** The connection is cut; `after` means after the request was processed. */
  | { readonly kind: 'cut'; readonly after: boolean };

export interface SeenRequest {
  readonly topic: string;
  readonly event: string;
  readonly payload: Record<string, unknown>;
  readonly ref: string;
  readonly joinRef: string | null;
  /** Number of earlier requests of this kind on this topic. */
  readonly nth: number;
}

export interface PlanInput {
  readonly id?: string;
  readonly [member: string]: unknown;
}

export class Lightning {
  readonly requests: SeenRequest[] = [];
  readonly urls: URL[] = [];
  readonly queue: string[] = [];
  readonly plans = new Map<string, PlanInput>();
  readonly dataclips = new Map<string, unknown>();
  readonly credentials = new Map<string, unknown>();
  options: LightningOptions;
  #server: Server | undefined;
  #sockets: WebSocketServer | undefined;
  #port = 0;
  #watchers = new Set<() => void>();

  constructor(options: LightningOptions = {}) {
    this.options = options;
    this.#port = options.port ?? 0;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.#port}/worker`;
  }

  get connections(): number {
    return this.#sockets?.clients.size ?? 0;
  }

  async start(): Promise<this> {
    const server = createServer((_, response) => response.writeHead(404).end());
    const sockets = new WebSocketServer({ noServer: true });
    server.on('upgrade', (request: IncomingMessage, socket, head) => {
      const url = new URL(request.url ?? '/', 'ws://lab');
      this.urls.push(url);
      socket.on('error', () => {});
      if (url.pathname !== '/worker/websocket' || this.options.accepts?.(url) === false)
        socket.end('HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
      else sockets.handleUpgrade(request, socket, head, (ws) => this.#welcome(ws));
      this.#changed();
    });
    server.listen(this.#port, '127.0.0.1');
    await once(server, 'listening');
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
    this.#sockets = sockets;
    return this;
  }

  /** Stops as if killed: connections end at once, its state stays. */
  async stop(): Promise<void> {
    for (const client of this.#sockets?.clients ?? []) client.terminate();
    const server = this.#server;
    if (server !== undefined)
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    this.#server = undefined;
  }

  /** Adds a run; missing members of its plan are filled in. */
  enqueue(plan: PlanInput): string {
    const id = plan.id ?? randomUUID();
    this.plans.set(id, { triggers: [], edges: [], jobs: [], options: {}, ...plan, id });
    this.queue.push(id);
    return id;
  }

  push(topic: string, event: string, payload: unknown = {}): void {
    for (const client of this.#sockets?.clients ?? [])
      client.send(JSON.stringify([null, this.options.style === 'mock' ? '' : null, topic, event, payload]));
  }

  /** Sends a raw frame to all clients. */
  raw(frame: string | Buffer): void {
    for (const client of this.#sockets?.clients ?? []) client.send(frame);
  }

  workAvailable(): void {
    this.push('worker:queue', 'work-available', this.options.style === 'mock' ? '{}' : {});
  }

  cut(): void {
    for (const client of this.#sockets?.clients ?? []) client.terminate();
  }

  of(runId: string, event?: string): SeenRequest[] {
    return this.requests.filter((request) => request.topic === `run:${runId}` && (event === undefined || request.event === event));
  }

  seen(event: string): SeenRequest[] {
    return this.requests.filter((request) => request.event === event);
  }

  /** Resolves with the result of `look` as soon as it finds something. */
  async until<T>(look: () => T | undefined | false): Promise<T> {
    for (;;) {
      const found = look();
      if (found !== undefined && found !== false) return found;
      await new Promise<void>((resolve) => {
        const watcher = () => {
          this.#watchers.delete(watcher);
          resolve();
        };
        this.#watchers.add(watcher);
      });
    }
  }

  /** Resolves with the `run:complete` of a run. */
  completed(runId: string): Promise<Record<string, unknown>> {
    return this.until(() => this.of(runId, 'run:complete')[0]?.payload);
  }

  #welcome(ws: WebSocket): void {
    const joined = new Map<string, string | null>();
    ws.on('error', () => {});
    ws.on('close', () => this.#changed());
    ws.on('message', (data) => {
      const [joinRef, ref, topic, event, payload] = JSON.parse(String(data)) as [
        string | null,
        string,
        string,
        string,
        Record<string, unknown>,
      ];
      const nth = this.requests.filter((other) => other.topic === topic && other.event === event).length;
      const request: SeenRequest = { topic, event, payload, ref, joinRef, nth };
      const answer = this.options.meddle?.(request);
      if (answer?.kind === 'cut' && !answer.after) {
        ws.terminate();
        return;
      }
      this.requests.push(request);
      this.#answer(ws, request, joined, answer);
      this.#changed();
    });
  }

  #answer(ws: WebSocket, request: SeenRequest, joined: Map<string, string | null>, answer: Answer | undefined): void {
    const { topic, event, joinRef, ref } = request;
    if (answer?.kind === 'silence') return;
    if (answer?.kind === 'cut') {
      ws.terminate();
      return;
    }
    if (answer?.kind === 'raw') {
      for (const frame of answer.frames) ws.send(frame);
      return;
    }
    const mock = this.options.style === 'mock';
    if (topic === 'phoenix' && mock) return;
    if (topic !== 'phoenix' && event !== 'phx_join' && joined.get(topic) !== joinRef) return;
    if (event === 'phx_join') joined.set(topic, joinRef);
    const [status, response] = answer?.kind === 'error' ? ['error', answer.response] : this.#respond(request);
    if (event === 'phx_leave') joined.delete(topic);
    if (Buffer.isBuffer(response)) {
      if (!mock) ws.send(binaryReply([joinRef ?? '', ref, topic, status], response));
      else ws.send(JSON.stringify([joinRef, ref, topic, `chan_reply_${ref}`, { status, response: [...response] }]));
    } else
      ws.send(
        JSON.stringify([
          joinRef,
          ref,
          topic,
          mock ? `chan_reply_${ref}` : 'phx_reply',
          { status, ...(response !== undefined && { response }) },
        ]),
      );
  }

  #respond({ topic, event, payload }: SeenRequest): [status: string, response?: unknown] {
    const runId = topic.replace(/^run:/, '');
    const plan = this.plans.get(runId);
    switch (event) {
      case 'claim': {
        const ids = this.queue.splice(0, this.options.style === 'mock' ? 1 : Number(payload['demand']));
        return ['ok', { runs: ids.map((id) => ({ id, token: this.options.tokenOf?.(id) ?? 'x.y.z' })) }];
      }
      case 'phx_join':
        return topic === 'worker:queue' || plan !== undefined ? ['ok', {}] : ['error', { reason: 'not_found' }];
      case 'phx_leave':
        return this.options.style === 'mock' ? ['error', 'no listeners'] : ['ok', {}];
      case 'fetch:plan':
        return ['ok', plan];
      case 'fetch:dataclip':
        return this.dataclips.has(String(payload['id']))
          ? ['ok', Buffer.from(JSON.stringify(this.dataclips.get(String(payload['id']))))]
          : ['error', { errors: { id: ['not found'] } }];
      case 'fetch:credential':
        return this.credentials.has(String(payload['id']))
          ? ['ok', this.credentials.get(String(payload['id']))]
          : ['error', { errors: { id: ['not found'] } }];
      default:
        return this.options.style === 'mock' ? ['ok'] : ['ok', null];
    }
  }

  #changed(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }
}

function binaryReply(texts: readonly string[], body: Buffer): Buffer {
  const parts = texts.map((text) => Buffer.from(text));
  return Buffer.concat([Buffer.from([1, ...parts.map(({ length }) => length)]), ...parts, body]);
}
