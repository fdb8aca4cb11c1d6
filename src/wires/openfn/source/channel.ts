import type { Clock, Timer } from '../../../clock.js';
import { Wake } from '../../../kit/wake.js';
import { type LightningSocket, ReplyError, type SocketChannel } from './socket.js';

const REJOIN_MS = 1_000;
const MAX_REJOIN_MS = 30_000;

type State = 'joining' | 'joined' | 'gone';

export interface ChannelOptions {
  readonly topic: string;
  readonly params: unknown;
  readonly joinMs: number;
  readonly clock: Clock;
  /** Whether to rejoin even after a refusal, because nothing works without this channel. */
  readonly alwaysRejoins: boolean;
  readonly onJoined?: () => void;
  readonly onRefused?: (error: ReplyError) => void;
  readonly onMessage?: (event: string, payload: unknown) => void;
}

/**
 * A Phoenix topic, kept joined across reconnects. Life: joining → joined → (connection lost → joining → joined)* → gone. A channel is gone
 * when it was left, when the server refused it (unless it insists), or when its first join timed out.
 */
export class Channel implements SocketChannel {
  readonly topic: string;
  readonly #socket: LightningSocket;
  readonly #options: ChannelOptions;
  #state: State = 'joining';
  #wasJoined = false;
  #joinRef: string | null = null;
  #rejoin: Timer | undefined;
  #refusals = 0;
  /** Wakes when the channel is joined or gone. */
  readonly #settled = new Wake();

  constructor(socket: LightningSocket, options: ChannelOptions) {
    this.#socket = socket;
    this.#options = options;
    this.topic = options.topic;
    socket.add(this);
  }

  /** Resolves with true when the channel is joined, or with false when it is gone for good. */
  async joined(): Promise<boolean> {
    await this.#settled.until(() => this.#state !== 'joining');
    return this.#state === 'joined';
  }

  get isJoined(): boolean {
    return this.#state === 'joined';
  }

  /** Rejects with a ReplyError. */
  request(event: string, payload: unknown, timeoutMs: number): Promise<unknown> {
    if (this.#state !== 'joined') return Promise.reject(new ReplyError('lost', 'not connected'));
    return this.#socket.request(this.topic, event, payload, timeoutMs, this.#joinRef);
  }

  leave(): void {
    if (this.#state === 'gone') return;
    // The reply is ignored: some servers report that there was nothing to leave.
    if (this.#state === 'joined') this.#socket.request(this.topic, 'phx_leave', {}, REJOIN_MS, this.#joinRef).catch(() => {});
    this.#setState('gone');
    this.#socket.remove(this);
  }

  opened(): void {
    void this.#join();
  }

  closed(): void {
    this.#rejoin?.cancel();
    if (this.#state === 'joined') this.#setState('joining');
  }

  received(event: string, payload: unknown, joinRef: string | null): void {
    if (joinRef !== null && joinRef !== this.#joinRef) return;
    if (event !== 'phx_error' && event !== 'phx_close') {
      this.#options.onMessage?.(event, payload);
      return;
    }
    if (this.#state !== 'joined') return;
    this.#setState('joining');
    this.#socket.dropRequests(this.topic);
    if (event === 'phx_close') this.#refuse(new ReplyError('refused', 'closed by the server'));
    else this.#scheduleJoin();
  }

  async #join(): Promise<void> {
    if (this.#state !== 'joining') return;
    const ref = this.#socket.nextRef();
    this.#joinRef = ref;
    try {
      await this.#socket.request(this.topic, 'phx_join', this.#options.params, this.#options.joinMs, ref, ref);
      if (this.#state !== 'joining' || this.#joinRef !== ref) return;
      this.#wasJoined = true;
      this.#refusals = 0;
      this.#setState('joined');
      this.#options.onJoined?.();
    } catch (thrown) {
      const error = thrown instanceof ReplyError ? thrown : new ReplyError('refused', String(thrown));
      // A join that was lost is repeated on the next connection.
      if (error.why === 'lost' || this.#state !== 'joining' || this.#joinRef !== ref) return;
      if (error.why === 'refused' || !this.#wasJoined) this.#refuse(error);
      else this.#scheduleJoin();
    }
  }

  #refuse(error: ReplyError): void {
    this.#refusals += 1;
    if (this.#options.alwaysRejoins) this.#scheduleJoin();
    else {
      this.#setState('gone');
      this.#socket.remove(this);
    }
    this.#options.onRefused?.(error);
  }

  #scheduleJoin(): void {
    this.#rejoin?.cancel();
    const waitMs = Math.min(MAX_REJOIN_MS, REJOIN_MS * Math.max(1, this.#refusals));
    this.#rejoin = this.#options.clock.after(waitMs, () => void this.#join(), { unref: true });
  }

  #setState(state: State): void {
    this.#state = state;
    this.#rejoin?.cancel();
    if (state !== 'joining') this.#settled.wake();
  }
}
