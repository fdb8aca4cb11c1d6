import { WebSocket } from 'ws';
import type { Clock, Timer } from '../../../clock.js';
import { carryMs } from '../../../kit/deadline.js';
import type { Log } from '../../../log.js';
import { decodeFrame, encodeRequest, MAX_FRAME_BYTES, type Received } from './frames.js';

export const HEARTBEAT_MS = 30_000;
const CONNECT_MS = 10_000;
/** The wait before another try: so much longer after each failure, up to the most. */
const RETRY_STEP_MS = 1_000;
const MAX_RETRY_MS = 30_000;
/** A request that is over its time is given up when the server is heard within this; else the connection is, as one that is dead. */
const SIGN_OF_LIFE_MS = 10_000;
/** A half-open connection does not answer the closing handshake. */
const FAREWELL_MS = 1_000;

/** Why a request has no good answer: the server said no, said nothing to it in time although it is there, or the connection is gone. */
export class ReplyError extends Error {
  override readonly name = 'ReplyError';
  readonly why: 'refused' | 'timeout' | 'lost';

  constructor(why: ReplyError['why'], message: string) {
    super(message);
    this.why = why;
  }
}

/** The part of a channel that the socket drives. */
export interface SocketChannel {
  readonly topic: string;
  /** A connection is up: join, again if need be. */
  opened(): void;
  closed(): void;
  received(event: string, payload: unknown, joinRef: string | null): void;
}

export interface LightningSocketOptions {
  /** With token and versions in it. */
  readonly url: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly heartbeatMs?: number;
  /** A connection could not be made, or was lost; `why` in a few words, without the address; `status` if the server refused it. */
  readonly onDown: (why: string, status?: number) => void;
}

interface Waiting {
  readonly topic: string;
  readonly timer: Timer;
  readonly resolve: (response: unknown) => void;
  readonly reject: (error: ReplyError) => void;
}

/**
 * One WebSocket to Lightning at a time, made anew for as long as it takes. Life: connecting → open → (lost → waiting → connecting)* → closed.
 * Requests that are open when the connection is lost are rejected at once as `lost`: nothing is kept for the next one here. What is not answered in
 * time may be lost as well, on a line that is dead without having been closed: so the server is asked for a sign of life before it counts as `timeout`.
 *
 * Whatever is heard counts as a sign of life, not only the answer to a heartbeat: there are servers that answer none.
 */
export class LightningSocket {
  readonly #options: LightningSocketOptions;
  readonly #channels = new Map<string, SocketChannel>();
  readonly #waiting = new Map<string, Waiting>();
  #ws: WebSocket | undefined;
  #ref = 0;
  #failures = 0;
  #heard = true;
  /** What waited behind the last heartbeat: as long as that changes, the line is alive, and the answer to it may be a while. */
  #queuedBytes = 0;
  /** Requests that are over their time, while a sign of life is awaited. */
  readonly #overdue = new Set<string>();
  #lifeless: Timer | undefined;
  #beat: Timer | undefined;
  #retry: Timer | undefined;
  #closed = false;

  constructor(options: LightningSocketOptions) {
    this.#options = options;
  }

  get isOpen(): boolean {
    return this.#ws?.readyState === WebSocket.OPEN;
  }

  start(): void {
    const { url } = this.#options;
    const ws = new WebSocket(url, { handshakeTimeout: CONNECT_MS, maxPayload: MAX_FRAME_BYTES });
    this.#ws = ws;
    ws.on('open', () => this.#open());
    ws.on('message', (data, binary) => {
      this.#heard = true;
      const bytes = Buffer.isBuffer(data) ? data : Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);
      this.#receive(decodeFrame(bytes, binary));
      if (this.#overdue.size > 0) this.#giveUpOverdue();
    });
    ws.on('unexpected-response', (request, response) => {
      this.#lose(ws, `the server responded ${response.statusCode}`, response.statusCode);
      request.destroy();
    });
    ws.on('error', (error) => this.#lose(ws, error.message));
    ws.on('close', (code) => this.#lose(ws, `closed with code ${code}`));
  }

  /** The server has accepted us: the next loss is a first one again. */
  accepted(): void {
    this.#failures = 0;
  }

  add(channel: SocketChannel): void {
    this.#channels.set(channel.topic, channel);
    if (this.isOpen) channel.opened();
  }

  remove(channel: SocketChannel): void {
    if (this.#channels.get(channel.topic) === channel) this.#channels.delete(channel.topic);
    this.dropRequests(channel.topic);
  }

  nextRef(): string {
    this.#ref += 1;
    return String(this.#ref);
  }

  /** Resolves with the response of a good reply; rejects with a ReplyError. */
  request(
    topic: string,
    event: string,
    payload: unknown,
    timeoutMs: number,
    joinRef: string | null,
    ref = this.nextRef(),
  ): Promise<unknown> {
    const ws = this.#ws;
    if (ws === undefined || !this.isOpen) return Promise.reject(new ReplyError('lost', 'not connected'));
    return new Promise((resolve, reject) => {
      ws.send(encodeRequest({ joinRef, ref, topic, event, payload }));
      // It is behind all that waits.
      const timer = this.#options.clock.after(timeoutMs + carryMs(ws.bufferedAmount), () => this.#expire(ws, ref));
      this.#waiting.set(ref, { topic, timer, resolve, reject });
    });
  }

  /** What waits for an answer on this topic will not get one. */
  dropRequests(topic?: string): void {
    for (const [ref, waiting] of this.#waiting) {
      if (topic !== undefined && waiting.topic !== topic) continue;
      this.#waiting.delete(ref);
      this.#overdue.delete(ref);
      waiting.timer.cancel();
      waiting.reject(new ReplyError('lost', 'the connection was lost'));
    }
    if (this.#overdue.size === 0) this.#endAwaitingLife();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#retry?.cancel();
    const ws = this.#ws;
    if (ws !== undefined) this.#lose(ws, 'closed');
  }

  #open(): void {
    this.#heard = true;
    this.#queuedBytes = 0;
    this.#scheduleBeat();
    for (const channel of [...this.#channels.values()]) channel.opened();
  }

  #expire(ws: WebSocket, ref: string): void {
    this.#overdue.add(ref);
    if (this.#lifeless !== undefined) return;
    this.#sendBeat(ws);
    const withinMs = SIGN_OF_LIFE_MS + carryMs(ws.bufferedAmount);
    this.#lifeless = this.#options.clock.after(withinMs, () => this.#lose(ws, 'no response and no heartbeat'));
  }

  #endAwaitingLife(): void {
    this.#lifeless?.cancel();
    this.#lifeless = undefined;
  }

  #giveUpOverdue(): void {
    this.#endAwaitingLife();
    for (const ref of this.#overdue) {
      this.#waiting.get(ref)?.reject(new ReplyError('timeout', 'timeout'));
      this.#waiting.delete(ref);
    }
    this.#overdue.clear();
  }

  #sendBeat(ws: WebSocket): void {
    ws.send(encodeRequest({ joinRef: null, ref: this.nextRef(), topic: 'phoenix', event: 'heartbeat', payload: {} }));
  }

  #scheduleBeat(): void {
    this.#beat = this.#options.clock.after(
      this.#options.heartbeatMs ?? HEARTBEAT_MS,
      () => {
        const ws = this.#ws;
        if (ws === undefined) return;
        const isMoving = ws.bufferedAmount !== this.#queuedBytes;
        if (!this.#heard && !isMoving) {
          this.#lose(ws, 'heartbeat timeout');
          return;
        }
        this.#heard = false;
        this.#sendBeat(ws);
        this.#queuedBytes = ws.bufferedAmount;
        this.#scheduleBeat();
      },
      { unref: true },
    );
  }

  #receive(frame: Received | undefined): void {
    if (frame === undefined) this.#options.log.debug('a frame could not be read');
    else if (frame.kind === 'push') this.#channels.get(frame.topic)?.received(frame.event, frame.payload, frame.joinRef);
    else this.#settle(frame);
  }

  #settle(frame: Received & { readonly kind: 'reply' }): void {
    const waiting = this.#waiting.get(frame.ref);
    if (waiting === undefined || waiting.topic !== frame.topic) return;
    this.#waiting.delete(frame.ref);
    waiting.timer.cancel();
    if (frame.ok) waiting.resolve(frame.response);
    else waiting.reject(new ReplyError('refused', describe(frame.response)));
  }

  #lose(ws: WebSocket, why: string, status?: number): void {
    if (this.#ws !== ws) return;
    this.#ws = undefined;
    this.#beat?.cancel();
    ws.removeAllListeners();
    ws.on('error', () => {});
    if (ws.readyState !== WebSocket.CLOSED) {
      ws.close(1_000, why.slice(0, 100));
      const timer = this.#options.clock.after(FAREWELL_MS, () => ws.terminate(), { unref: true });
      ws.on('close', () => timer.cancel());
    }
    this.dropRequests();
    for (const channel of [...this.#channels.values()]) channel.closed();
    if (this.#closed) return;
    this.#failures += 1;
    this.#options.onDown(why, status);
    const waitMs = Math.min(MAX_RETRY_MS, this.#failures * RETRY_STEP_MS);
    this.#retry = this.#options.clock.after(waitMs, () => this.start());
  }
}

/** What a server said when it refused, as text: `reason` or `errors` where it has them. */
function describe(response: unknown): string {
  if (typeof response === 'string') return response;
  if (Buffer.isBuffer(response)) return response.toString('utf8');
  if (typeof response === 'object' && response !== null && 'reason' in response && typeof response.reason === 'string')
    return response.reason;
  return JSON.stringify(response) ?? 'no reason given';
}
