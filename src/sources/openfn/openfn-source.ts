import { randomBytes } from 'node:crypto';
import type { Server } from 'node:http';
import { PeerworkError } from '../../errors.js';
import type { Lease, Source } from '../../job/source.js';
import { orAborted } from '../../kit/or-aborted.js';
import { conceal } from '../../log.js';
import { version } from '../../version.js';
import type { SourceContext, SourceSetup } from '../setup.js';
import { Channel } from './channel.js';
import { Claims, type TakenRun } from './claims.js';
import { serveHealth } from './health.js';
import { type OpenfnSourceOptions, readSettings, type SourceSettings } from './options.js';
import { RunSession } from './run-session.js';
import { LightningSocket } from './socket.js';
import { makeWorkerToken, runTokenFault } from './tokens.js';

export type { OpenfnSourceOptions };

/** The version of Lightning's worker protocol that is spoken. */
const API_VERSION = '1.2';
const RUNNER = 'openfn';

/** Takes runs from an OpenFn Lightning. The Worker needs the runner `openfn` for them. Throws `openfn-invalid`. */
export function openfnSource(options: OpenfnSourceOptions): SourceSetup {
  const settings = readSettings(options);
  return {
    name: 'openfn',
    needs: [RUNNER],
    open: async (context) => {
      const source = new OpenfnSource(settings, context);
      if (options.port !== undefined) await source.serve(options.port, options.host);
      source.start();
      return source;
    },
  };
}

/**
 * Leases runs of an OpenFn Lightning server over its worker WebSocket.
 *
 * Zero persistence: nothing of a run touches the disk, so there is no outbox. An outcome waits in memory, in its run's own channel, for
 * as long as the Worker lives and the server knows the run; after that the server ends the run by its own timeout.
 */
export class OpenfnSource implements Source {
  readonly name = 'openfn';
  readonly #settings: SourceSettings;
  readonly #context: SourceContext;
  readonly #socket: LightningSocket;
  readonly #queue: Channel;
  readonly #claims: Claims;
  readonly #sessions = new Set<RunSession>();
  readonly #able: boolean;
  #server: Server | undefined;
  #open = false;
  #trusted = true;
  #closed = false;
  #waiting: (() => void)[] = [];
  #asking: ((runs: number) => void)[] = [];

  constructor(settings: SourceSettings, context: SourceContext) {
    this.#settings = settings;
    this.#context = context;
    const { clock, log, concurrency } = context;
    this.#able = context.runners.includes(RUNNER);
    const url = workerAddress(settings, `${context.worker}-${randomBytes(4).toString('hex')}`, clock.wall());
    this.#socket = new LightningSocket({ url, clock, log, onDown: (why) => this.#down(why) });
    const workloops = settings.workloops ?? [{ queues: ['manual', '*'], capacity: settings.capacity ?? concurrency }];
    this.#queue = new Channel(this.#socket, {
      topic: 'worker:queue',
      params: {
        capacity: workloops.reduce((sum, { capacity }) => sum + capacity, 0),
        ...(settings.workloops && { queues: Object.fromEntries(workloops.map(({ queues, capacity }) => [queues.join('>'), capacity])) }),
      },
      joinMs: settings.messageMs,
      clock,
      insists: true,
      onJoined: () => {
        this.#socket.accepted();
        log.info('joined OpenFn Lightning');
        this.#claims.hurry();
      },
      onRefused: ({ message }) => context.trouble(new PeerworkError('openfn-refused', message)),
      onMessage: (event) => {
        if (event === 'work-available') this.#claims.hurry();
      },
    });
    this.#claims = new Claims({ ...settings, workloops, queue: () => this.#queue, clock, log, onAnswer: (runs) => this.#answered(runs) });
  }

  /** Connects, unless this Worker could not run what it would be given. */
  start(): void {
    if (this.#able) this.#socket.start();
    else this.#context.trouble(new PeerworkError('openfn-engine-missing', 'the Worker has no runner openfn, so nothing is claimed'));
  }

  async serve(port: number, host: string | undefined): Promise<void> {
    this.#server = await serveHealth(port, host, (withinMs) => this.#claimNow(withinMs));
  }

  async claim(capacity: number, signal: AbortSignal): Promise<Lease[]> {
    while (this.#trusted && !this.#closed && !signal.aborted) {
      this.#open = true;
      const taken = await this.#claims.claim(capacity, signal);
      this.#open = false;
      const leases = taken.flatMap((each) => this.#lease(each) ?? []);
      if (leases.length > 0) return leases;
    }
    // Nothing will ever come: the Worker is not to ask again and again.
    if (!this.#trusted && !this.#closed && !signal.aborted)
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    return [];
  }

  async flush(signal: AbortSignal): Promise<void> {
    while (this.#sessions.size > 0 && !signal.aborted) await orAborted(new Promise<void>((resolve) => this.#waiting.push(resolve)), signal);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#claims.close();
    for (const session of [...this.#sessions]) session.drop();
    this.#queue.leave();
    this.#socket.close();
    const server = this.#server;
    if (server === undefined) return;
    const ended = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await ended;
  }

  #lease({ run, free }: TakenRun): Lease | undefined {
    const { clock, log } = this.#context;
    const { publicKey } = this.#settings;
    const fault = publicKey && runTokenFault(run.token, publicKey, clock.wall());
    if (fault !== undefined) {
      free();
      this.#distrust(`run ${run.id}: ${fault}`);
      return undefined;
    }
    const session: RunSession = new RunSession({
      run,
      settings: this.#settings,
      socket: this.#socket,
      clock,
      log,
      onOver: () => {
        this.#sessions.delete(session);
        free();
        for (const resolve of this.#waiting.splice(0)) resolve();
      },
    });
    this.#sessions.add(session);
    return session;
  }

  /** Somebody else hands out runs, or the key is wrong: what was verified goes on to its end, nothing more is taken. */
  #distrust(why: string): void {
    this.#trusted = false;
    this.#claims.close();
    this.#queue.leave();
    this.#context.trouble(new PeerworkError('openfn-run-untrusted', why));
  }

  #down(why: string): void {
    const refused = /answered 40[13]$/.test(why);
    this.#context.trouble(new PeerworkError(refused ? 'openfn-refused' : 'openfn-unreachable', why));
  }

  async #claimNow(withinMs: number): Promise<boolean> {
    if (!this.#open || !this.#queue.isJoined) return false;
    const answered = new Promise<number>((resolve) => this.#asking.push(resolve));
    const timer = this.#context.clock.after(withinMs, () => this.#answered(0));
    this.#claims.hurry();
    const runs = await answered;
    timer.cancel();
    return runs > 0;
  }

  #answered(runs: number): void {
    for (const resolve of this.#asking.splice(0)) resolve(runs);
  }
}

/** Where a worker's WebSocket is opened, its token in it; what is secret about it is concealed. */
export function workerAddress({ url, secret }: { readonly url: string; readonly secret: string }, workerId: string, nowMs: number): string {
  const token = makeWorkerToken(secret, workerId, nowMs);
  conceal(secret);
  conceal(token);
  return `${url}/websocket?${new URLSearchParams({ token, api_version: API_VERSION, worker_version: version, vsn: '2.0.0' })}`;
}
