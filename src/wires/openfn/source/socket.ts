import { WebSocket } from 'ws';
import type { Clock, Timer } from '../../../clock.js';
import { carryMs } from '../../../kit/deadline.js';
import type { Log } from '../../../log.js';
import { decodeFrame, encodeRequest, MAX_FRAME_BYTES, type Received } from './frames.js';

export const HEARTBEAT_MS = 30_000;
const CONNECT_MS = 10_000;
/** Increment of the reconnect delay for each consecutive failure, and its upper bound. */
const RETRY_STEP_MS = 1_000;
const MAX_RETRY_MS = 30_000;
/** A request that timed out is given up if anything is received within this time; otherwise the connection is considered dead. */
const SIGN_OF_LIFE_MS = 10_000;
/** A half-open connection does not complete the closing handshake. */
const CLOSE_MS = 1_000;

/** Why a request failed: the server refused it, did not reply in time although the connection is alive, or the connection was lost. */
export class ReplyError extends Error {
  override readonly name = 'ReplyError';
  readonly why: 'refused' | 'timeout' | 'lost';

  constructor(why: ReplyError['why'], message: string) {
    super(message);
    this.why = why;
  }
}

/** The interface through which the socket drives a channel. */
export interface SocketChannel {
  readonly topic: string;
  /** Called when a connection is up; the channel joins if it has to. */
  opened(): void;
  closed(): void;
  received(event: string, payload: unknown, joinRef: string | null): void;
}

export interface LightningSocketOptions {
  /** Includes the token and the versions. */
  readonly url: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly heartbeatMs?: number;
  /**
   * Called when a connection could not be made or was lost. `why` is a short text without the URL, `status` is set if the server refused
   * the upgrade.
   */
  readonly onDown: (why: string, status?: number) => void;
}

interface PendingRequest {
  readonly topic: string;
  readonly timer: Timer;
  readonly resolve: (response: unknown) => void;
  readonly reject: (error: ReplyError) => void;
}

/**
 * One WebSocket connection to Lightning, re-established indefinitely. Life: connecting → open → (lost → waiting → connecting)* → closed.
 *
 * Requests in flight when the connection is lost are rejected at once as `lost`; nothing is queued here for the next one. A request without
 * a reply may also mean that the connection is dead without having been closed, so the server must give a sign of life before the request
 * is rejected as `timeout`.
 *
 * Anything received counts as a sign of life, not only the reply to a heartbeat, because some servers never reply to heartbeats.
 */
export class LightningSocket {
  readonly #options: LightningSocketOptions;
  readonly #channels = new Map<string, SocketChannel>();
  readonly #pending = new Map<string, PendingRequest>();
  #ws: WebSocket | undefined;
  #ref = 0;
  #failures = 0;
  #heard = true;
  /** Bytes that were queued behind the last heartbeat. While this number changes, the connection is alive and the reply may take longer. */
  #queuedBytes = 0;
  /** Requests that have timed out while a sign of life is awaited. */
  readonly #overdue = new Set<string>();
  #deathTimer: Timer | undefined;
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
      if (this.#overdue.size > 0) this.#rejectOverdue();
    });
    ws.on('unexpected-response', (request, response) => {
      this.#lose(ws, `the server responded ${response.statusCode}`, response.statusCode);
      request.destroy();
    });
    ws.on('error', (error) => this.#lose(ws, error.message));
    ws.on('close', (code) => this.#lose(ws, `closed with code ${code}`));
  }

  /** Resets the reconnect delay, because the server has accepted us. */
  resetBackoff(): void {
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

  /** Resolves with the response of an `ok` reply; rejects with a ReplyError. */
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
      // The request is queued behind everything not yet sent.
      const timer = this.#options.clock.after(timeoutMs + carryMs(ws.bufferedAmount), () => this.#expire(ws, ref));
      this.#pending.set(ref, { topic, timer, resolve, reject });
    });
  }

  /** Rejects the pending requests of a topic, or all of them, as `lost`. */
  dropRequests(topic?: string): void {
    for (const [ref, pending] of this.#pending) {
      if (topic !== undefined && pending.topic !== topic) continue;
      this.#pending.delete(ref);
      this.#overdue.delete(ref);
      pending.timer.cancel();
      pending.reject(new ReplyError('lost', 'the connection was lost'));
    }
    if (this.#overdue.size === 0) this.#cancelDeathTimer();
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
    if (this.#deathTimer !== undefined) return;
    this.#sendBeat(ws);
    const withinMs = SIGN_OF_LIFE_MS + carryMs(ws.bufferedAmount);
    this.#deathTimer = this.#options.clock.after(withinMs, () => this.#lose(ws, 'no response and no heartbeat'));
  }

  #cancelDeathTimer(): void {
    this.#deathTimer?.cancel();
    this.#deathTimer = undefined;
  }

  #rejectOverdue(): void {
    this.#cancelDeathTimer();
    for (const ref of this.#overdue) {
      this.#pending.get(ref)?.reject(new ReplyError('timeout', 'timeout'));
      this.#pending.delete(ref);
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
    const pending = this.#pending.get(frame.ref);
    if (pending === undefined || pending.topic !== frame.topic) return;
    this.#pending.delete(frame.ref);
    pending.timer.cancel();
    if (frame.ok) pending.resolve(frame.response);
    else pending.reject(new ReplyError('refused', describe(frame.response)));
  }

  #lose(ws: WebSocket, why: string, status?: number): void {
    if (this.#ws !== ws) return;
    this.#ws = undefined;
    this.#beat?.cancel();
    ws.removeAllListeners();
    ws.on('error', () => {});
    if (ws.readyState !== WebSocket.CLOSED) {
      ws.close(1_000, why.slice(0, 100));
      const timer = this.#options.clock.after(CLOSE_MS, () => ws.terminate(), { unref: true });
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

/** Describes the response of a refusal as text: its `reason` if it has one. */
function describe(response: unknown): string {
  if (typeof response === 'string') return response;
  if (Buffer.isBuffer(response)) return response.toString('utf8');
  if (typeof response === 'object' && response !== null && 'reason' in response && typeof response.reason === 'string')
    return response.reason;
  return JSON.stringify(response) ?? 'no reason given';
}
