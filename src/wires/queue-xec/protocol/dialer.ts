import { connect, type Socket } from 'node:net';
import type { Clock, Timer } from '../../../clock.js';

const CONNECT_MS = 8_000;
/** Waits after a link was lost or could not be established. */
const RETRY_MS = [1_000, 2_000, 5_000, 15_000] as const;
/** A discovered peer is given up after this many attempts until it is discovered again; a configured one never is. */
const MAX_TRIES = 5;
const MAX_TARGETS = 256;

interface Target {
  readonly host: string;
  readonly port: number;
  readonly named: boolean;
  tries: number;
  state: 'dialling' | 'linked' | 'waiting';
  /** The link is being closed on purpose, so the next one is dialled at once. */
  renewing: boolean;
  timer: Timer | undefined;
  socket: Socket | undefined;
}

export interface DialerOptions {
  readonly clock: Clock;
  /** Local address of outgoing links; default: the system's choice. */
  readonly localAddress: string | undefined;
  readonly onSocket: (socket: Socket) => void;
}

/** Establishes links to peers and re-establishes them when they are lost. */
export class Dialer {
  readonly #options: DialerOptions;
  readonly #targets = new Map<string, Target>();
  #closed = false;

  constructor(options: DialerOptions) {
    this.#options = options;
  }

  /**
   * Adds a peer. `named` marks one that the owner configured and that is never given up. A known peer that is waiting for its next attempt
   * is dialled at once.
   */
  add(host: string, port: number, named: boolean): void {
    if (this.#closed) return;
    const key = `${host} ${port}`;
    const known = this.#targets.get(key);
    if (known === undefined && this.#targets.size >= MAX_TARGETS) return;
    const target = known ?? { host, port, named, tries: 0, state: 'waiting', renewing: false, timer: undefined, socket: undefined };
    this.#targets.set(key, target);
    if (target.state !== 'waiting') return;
    if (!target.named) target.tries = 0;
    this.#dial(key, target);
  }

  /** Drops a peer that turned out to be ourselves, or not a member. */
  forget(host: string, port: number): void {
    const key = `${host} ${port}`;
    const target = this.#targets.get(key);
    if (target === undefined || target.named) return;
    target.timer?.cancel();
    this.#targets.delete(key);
  }

  close(): void {
    this.#closed = true;
    for (const { timer, socket } of this.#targets.values()) {
      timer?.cancel();
      socket?.destroy();
    }
    this.#targets.clear();
  }

  #dial(key: string, target: Target): void {
    const { clock, localAddress, onSocket } = this.#options;
    target.timer?.cancel();
    target.state = 'dialling';
    const { host, port } = target;
    const socket = connect({ host, port, ...(localAddress !== undefined && { localAddress }) });
    target.socket = socket;
    const deadline = clock.after(CONNECT_MS, () => socket.destroy(), { unref: true });
    socket.on('error', () => {});
    socket.once('connect', () => {
      deadline.cancel();
      target.state = 'linked';
      onSocket(socket);
    });
    socket.once('close', () => {
      deadline.cancel();
      this.#wait(key, target);
    });
  }

  #wait(key: string, target: Target): void {
    if (this.#closed || this.#targets.get(key) !== target) return;
    const waitMs = target.renewing ? 0 : (RETRY_MS[Math.min(target.tries, RETRY_MS.length - 1)] ?? 0);
    target.renewing = false;
    target.tries += 1;
    target.state = 'waiting';
    target.socket = undefined;
    if (!target.named && target.tries > MAX_TRIES) this.#targets.delete(key);
    else target.timer = this.#options.clock.after(waitMs, () => this.#dial(key, target), { unref: true });
  }

  /** Call before closing a link in order to replace it. */
  renew(host: string, port: number): void {
    const target = this.#targets.get(`${host} ${port}`);
    if (target?.state === 'linked') target.renewing = true;
  }

  /** Call when a link has proved to work: the next loss starts with the shortest wait. */
  proved(host: string, port: number): void {
    const target = this.#targets.get(`${host} ${port}`);
    if (target !== undefined) target.tries = 0;
  }
}
