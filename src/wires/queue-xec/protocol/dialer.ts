import { connect, type Socket } from 'node:net';
import type { Clock, Timer } from '../../../clock.js';

const CONNECT_MS = 8_000;
/** After a link was lost, or could not be made. */
const AGAIN_MS = [1_000, 2_000, 5_000, 15_000] as const;
/** A peer that was found is given up after this many tries, until it is found again; one that was named never. */
const MAX_TRIES = 5;
const MAX_TARGETS = 256;

interface Target {
  readonly host: string;
  readonly port: number;
  readonly named: boolean;
  tries: number;
  state: 'dialling' | 'linked' | 'waiting';
  /** The link is ended from here: the next one is made at once. */
  renewing: boolean;
  timer: Timer | undefined;
  socket: Socket | undefined;
}

export interface DialerOptions {
  readonly clock: Clock;
  /** The address that links go out from; default: the system's choice. */
  readonly localAddress: string | undefined;
  readonly onSocket: (socket: Socket) => void;
}

/** Makes links to peers and makes them again when they are lost. */
export class Dialer {
  readonly #options: DialerOptions;
  readonly #targets = new Map<string, Target>();
  #closed = false;

  constructor(options: DialerOptions) {
    this.#options = options;
  }

  /** `named`: by the owner, so it is never given up. A target that is known already is tried at once if it waits. */
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

  /** Whoever is there is ourselves, or no member: not again. */
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
    const waitMs = target.renewing ? 0 : (AGAIN_MS[Math.min(target.tries, AGAIN_MS.length - 1)] ?? 0);
    target.renewing = false;
    target.tries += 1;
    target.state = 'waiting';
    target.socket = undefined;
    if (!target.named && target.tries > MAX_TRIES) this.#targets.delete(key);
    else target.timer = this.#options.clock.after(waitMs, () => this.#dial(key, target), { unref: true });
  }

  /** We are about to end the link ourselves, for a new one. */
  renew(host: string, port: number): void {
    const target = this.#targets.get(`${host} ${port}`);
    if (target?.state === 'linked') target.renewing = true;
  }

  /** The link has proved itself: the next loss begins with the shortest wait. */
  proved(host: string, port: number): void {
    const target = this.#targets.get(`${host} ${port}`);
    if (target !== undefined) target.tries = 0;
  }
}
