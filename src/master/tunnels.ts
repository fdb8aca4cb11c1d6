import { connect, type Socket } from 'node:net';
import type { Clock } from '../clock.js';
import { hostAndPort, TUNNEL_NAME, type TunnelAddress } from '../config/tunnel.js';
import { PeerworkError } from '../errors.js';
import { checked, type LeaseKey, openTunnelArgs, workerLeaseKeyOf } from '../job/verbs.js';
import { resetStream } from '../kit/join-streams.js';
import type { Ledger, LedgerChange, WorkerRef } from '../ledger/ledger.js';
import type { Log } from '../log.js';
import type { Tasks } from './tasks.js';
import { carry } from './tunnel-connection.js';

export const MAX_CONNECTIONS_PER_LEASE = 64;
/** Less than the stream limit of a link, so that files can be fetched at the same time. */
export const MAX_CONNECTIONS_PER_WORKER = 96;
const CONNECT_LIMIT_MS = 10_000;

export type TunnelAddresses = ReadonlyMap<string, TunnelAddress>;

/** Parses `host:port` addresses by tunnel name. Throws `tunnel-invalid`, which contains only the name. */
export function readTunnels(given: Readonly<Record<string, string>>): TunnelAddresses {
  const addresses = new Map<string, TunnelAddress>();
  for (const [name, text] of Object.entries(given)) {
    const address = hostAndPort(text);
    if (!TUNNEL_NAME.test(name) || address === undefined) throw new PeerworkError('tunnel-invalid', name.slice(0, 40));
    addresses.set(name, address);
  }
  return addresses;
}

export interface TunnelsOptions {
  /** Addresses by name, as allowed by the Master's owner. */
  readonly addresses: TunnelAddresses;
  readonly ledger: Pick<Ledger, 'get' | 'watch'>;
  readonly tasks: Pick<Tasks, 'current'>;
  readonly clock: Clock;
  readonly log: Log;
}

/** A lease that is known to be held, with its open connections. */
interface Grant {
  readonly worker: WorkerRef;
  readonly key: LeaseKey;
  readonly sockets: Set<Socket>;
  /** The job's channel, looked up once for all concurrent connections. Rejects if the lease is not held. */
  channel: Promise<string> | undefined;
  /** Number of connections that are open or being opened. */
  open: number;
  ended: boolean;
}

/**
 * Connections that the Master opens for jobs on Workers. A Worker names only the run; the current version of that job's task names
 * the tunnel, and the owner's options its address. The ledger decides whether the run still holds its lease: on the first
 * connection, and again whenever the job changes. When the lease ends, so do all its connections.
 */
export class Tunnels {
  readonly #options: TunnelsOptions;
  readonly #grants = new Map<string, Grant>();
  readonly #unwatch: () => void;

  constructor(options: TunnelsOptions) {
    this.#options = options;
    this.#unwatch = options.ledger.watch((change) => this.#changed(change));
  }

  /** Number of open connections. */
  get size(): number {
    return [...this.#grants.values()].reduce((sum, { sockets }) => sum + sockets.size, 0);
  }

  /** Yields the bytes received from the address; fails with a `tunnel-…` code. */
  async *open(worker: WorkerRef, args: unknown, signal: AbortSignal, upload: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    const key = checked(openTunnelArgs, args);
    this.#checkRoom(worker, workerLeaseKeyOf(worker.id, key));
    const grant = this.#grant(worker, key);
    grant.open += 1;
    let socket: Socket | undefined;
    try {
      grant.channel ??= this.#channelOf(worker, key);
      const { tunnel } = this.#options.tasks.current(await grant.channel);
      if (tunnel === undefined) throw new PeerworkError('tunnel-none');
      socket = this.#connect(grant, tunnel);
      await this.#connected(socket, tunnel, signal);
      this.#options.log.debug('a tunnel was opened', { tunnel, worker: worker.name, job: key.id });
    } catch (error) {
      grant.channel = undefined;
      if (socket === undefined) this.#release(grant);
      throw error;
    }
    try {
      yield* carry(socket, signal, upload, this.#options.clock);
    } catch (error) {
      throw grant.ended ? new PeerworkError('tunnel-lease-ended') : error;
    }
  }

  close(): void {
    this.#unwatch();
    for (const grant of this.#grants.values()) this.#end(grant);
  }

  #grant(worker: WorkerRef, key: LeaseKey): Grant {
    const name = workerLeaseKeyOf(worker.id, key);
    let grant = this.#grants.get(name);
    if (grant === undefined) {
      grant = { worker, key, sockets: new Set(), channel: undefined, open: 0, ended: false };
      this.#grants.set(name, grant);
    }
    return grant;
  }

  #checkRoom(worker: WorkerRef, name: string): void {
    const ofLease = this.#grants.get(name)?.open ?? 0;
    if (ofLease >= MAX_CONNECTIONS_PER_LEASE) throw new PeerworkError('tunnel-full', `${MAX_CONNECTIONS_PER_LEASE} for one job`);
    let ofWorker = 0;
    for (const { worker: holder, open } of this.#grants.values()) if (holder.id === worker.id) ofWorker += open;
    if (ofWorker >= MAX_CONNECTIONS_PER_WORKER) throw new PeerworkError('tunnel-full', `${MAX_CONNECTIONS_PER_WORKER} for one worker`);
  }

  /** Returns the job's channel. Rejects with `tunnel-lease-ended` if the worker does not hold the lease. */
  async #channelOf(worker: WorkerRef, { id, lease }: LeaseKey): Promise<string> {
    const job = await this.#options.ledger.get(id);
    if (job?.state !== 'leased' || job.lease !== lease || job.worker?.id !== worker.id) throw new PeerworkError('tunnel-lease-ended');
    return job.channel;
  }

  #connect(grant: Grant, name: string): Socket {
    const address = this.#options.addresses.get(name);
    if (address === undefined) throw new PeerworkError('tunnel-unknown', name);
    if (grant.ended) throw new PeerworkError('tunnel-lease-ended');
    const socket = connect({ ...address, allowHalfOpen: true, noDelay: true, keepAlive: true });
    grant.sockets.add(socket);
    socket.once('close', () => {
      grant.sockets.delete(socket);
      this.#release(grant);
    });
    return socket;
  }

  /** Resolves when connected. Rejects with `tunnel-unreachable`, which names the tunnel but never the address. */
  #connected(socket: Socket, name: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const fail = (error: PeerworkError) => {
        socket.destroy(error);
        reject(error);
      };
      const giveUp = () => fail(new PeerworkError('rpc-cancelled'));
      const timeOut = () => fail(new PeerworkError('tunnel-unreachable', `${name}: no response in ${CONNECT_LIMIT_MS} ms`));
      const timer = this.#options.clock.after(CONNECT_LIMIT_MS, timeOut, { unref: true });
      signal.addEventListener('abort', giveUp, { once: true });
      const done = () => {
        timer.cancel();
        signal.removeEventListener('abort', giveUp);
      };
      socket.once('connect', () => {
        done();
        resolve();
      });
      // Kept: a connection that breaks without a reader must not crash the Master.
      socket.on('error', (error: NodeJS.ErrnoException) => {
        done();
        reject(error instanceof PeerworkError ? error : new PeerworkError('tunnel-unreachable', `${name}: ${error.code ?? 'failed'}`));
      });
      if (signal.aborted) giveUp();
    });
  }

  #release(grant: Grant): void {
    grant.open -= 1;
    if (grant.open === 0) this.#grants.delete(workerLeaseKeyOf(grant.worker.id, grant.key));
  }

  #changed({ jobs, cut }: LedgerChange): void {
    if (this.#grants.size === 0) return;
    const states = new Map(jobs.map(({ id, state }) => [id, state]));
    for (const grant of this.#grants.values()) {
      const state = states.get(grant.key.id);
      if (state !== undefined && state !== 'leased') this.#end(grant);
      else if (state === 'leased' || cut) void this.#recheck(grant);
    }
  }

  /** Ends the grant if the lease is gone: the job may have been leased again, to any worker. */
  async #recheck(grant: Grant): Promise<void> {
    const held = await this.#channelOf(grant.worker, grant.key).catch(() => undefined);
    if (held === undefined) this.#end(grant);
  }

  #end(grant: Grant): void {
    grant.ended = true;
    for (const socket of grant.sockets) resetStream(socket, new PeerworkError('tunnel-lease-ended'));
  }
}
