import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { Lease } from '../../../job/source.js';
import { listenError } from '../../../kit/system-error.js';
import { Wake } from '../../../kit/wake.js';
import { conceal } from '../../../log.js';
import { LeasedSource } from '../../../sources/leased-source.js';
import type { SourceContext, SourceSetup } from '../../../sources/setup.js';
import { version } from '../../../version.js';
import { LightningError } from '../errors.js';
import { Channel } from './channel.js';
import { Claims, type TakenRun } from './claims.js';
import { type OpenfnSourceOptions, readSettings, type SourceSettings } from './options.js';
import { RunSession } from './run-session.js';
import { LightningSocket } from './socket.js';
import { makeWorkerToken, runTokenFault } from './tokens.js';

/** Longer than a server takes to reply to a claim that finds nothing. */
const CLAIM_MS = 5_000;

export type { OpenfnSourceOptions };

/** Version of Lightning's worker protocol. */
const API_VERSION = '1.2';
const RUNNER = 'openfn';

/** Takes runs from an OpenFn Lightning server. The Worker needs the runner `openfn` for them. Throws `openfn-invalid`. */
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
 * Zero persistence: nothing about a run is written to disk, so there is no outbox and no outcome sender. An outcome is kept in memory, in
 * its run's channel, as long as the Worker lives and the server knows the run; after that the server ends the run by its own timeout.
 */
export class OpenfnSource extends LeasedSource {
  readonly #settings: SourceSettings;
  readonly #context: SourceContext;
  readonly #socket: LightningSocket;
  readonly #queue: Channel;
  readonly #claims: Claims;
  readonly #sessions = new Set<RunSession>();
  #server: Server | undefined;
  #open = false;
  #trusted = true;
  /** Wakes when a session is over. */
  readonly #over = new Wake();
  #claimWaiters: ((runs: number) => void)[] = [];

  constructor(settings: SourceSettings, context: SourceContext) {
    super('openfn', context.clock);
    this.#settings = settings;
    this.#context = context;
    const { clock, log, concurrency } = context;
    const url = workerAddress(settings, `${context.worker}-${randomBytes(4).toString('hex')}`, clock.wall());
    this.#socket = new LightningSocket({ url, clock, log, onDown: (why, status) => this.#down(why, status) });
    const workloops = settings.workloops ?? [{ queues: ['manual', '*'], capacity: settings.capacity ?? concurrency }];
    this.#queue = new Channel(this.#socket, {
      topic: 'worker:queue',
      params: {
        capacity: workloops.reduce((sum, { capacity }) => sum + capacity, 0),
        ...(settings.workloops && { queues: Object.fromEntries(workloops.map(({ queues, capacity }) => [queues.join('>'), capacity])) }),
      },
      joinMs: settings.messageMs,
      clock,
      alwaysRejoins: true,
      onJoined: () => {
        this.#socket.resetBackoff();
        log.info('joined OpenFn Lightning');
        this.#claims.claimSoon();
      },
      onRefused: ({ message }) => context.warning(new LightningError('openfn-refused', message)),
      onMessage: (event) => {
        if (event === 'work-available') this.#claims.claimSoon();
      },
    });
    this.#claims = new Claims({
      ...settings,
      workloops,
      queue: () => this.#queue,
      clock,
      log,
      onReply: (runs) => this.#onClaimReply(runs),
    });
  }

  /** Connects once this Worker has the runner for the runs it would be given. */
  start(): void {
    const { runners, runnerJoined, warning } = this.#context;
    if (!runners.includes(RUNNER))
      warning(new LightningError('openfn-engine-missing', 'the Worker has no runner openfn, so nothing is claimed'));
    void runnerJoined(RUNNER).then(() => {
      if (!this.closing.aborted) this.#socket.start();
    });
  }

  async serve(port: number, host: string | undefined): Promise<void> {
    this.#server = await serveHealth(port, host, (withinMs) => this.#claimNow(withinMs));
  }

  protected async take(capacity: number, signal: AbortSignal): Promise<Lease[]> {
    if (!this.#trusted) return [];
    this.#open = true;
    const taken = await this.#claims.claim(capacity, signal);
    this.#open = false;
    return taken.flatMap((each) => this.#lease(each) ?? []);
  }

  /** An untrusted server is never polled again. */
  protected override idleMs(): number {
    return this.#trusted ? 0 : Number.POSITIVE_INFINITY;
  }

  flush(signal: AbortSignal): Promise<void> {
    return this.#over.until(() => this.#sessions.size === 0, signal);
  }

  protected async end(): Promise<void> {
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

  #lease({ run, release }: TakenRun): Lease | undefined {
    const { clock, log } = this.#context;
    const { publicKey } = this.#settings;
    const fault = publicKey && runTokenFault(run.token, publicKey, clock.wall());
    if (fault !== undefined) {
      release();
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
        release();
        this.#over.wake();
      },
    });
    this.#sessions.add(session);
    return session;
  }

  /**
   * Stops taking runs because the key does not match: a stranger may be handing them out. Runs that were verified continue to their end.
   */
  #distrust(why: string): void {
    this.#trusted = false;
    this.#claims.close();
    this.#queue.leave();
    this.#context.warning(new LightningError('openfn-run-untrusted', why));
  }

  #down(why: string, status?: number): void {
    this.#context.warning(new LightningError(status === 401 || status === 403 ? 'openfn-refused' : 'openfn-unreachable', why));
  }

  async #claimNow(withinMs: number): Promise<boolean> {
    if (!this.#open || !this.#queue.isJoined) return false;
    const reply = new Promise<number>((resolve) => this.#claimWaiters.push(resolve));
    const timer = this.#context.clock.after(withinMs, () => this.#onClaimReply(0));
    this.#claims.claimSoon();
    const runs = await reply;
    timer.cancel();
    return runs > 0;
  }

  #onClaimReply(runs: number): void {
    for (const resolve of this.#claimWaiters.splice(0)) resolve(runs);
  }
}

/** Returns the URL of the worker's WebSocket, including its token; secret and token are redacted from logs from here on. */
export function workerAddress({ url, secret }: { readonly url: string; readonly secret: string }, workerId: string, nowMs: number): string {
  const token = makeWorkerToken(secret, workerId, nowMs);
  conceal(secret);
  conceal(token);
  return `${url}/websocket?${new URLSearchParams({ token, api_version: API_VERSION, worker_version: version, vsn: '2.0.0' })}`;
}

/**
 * Serves the routes of OpenFn's own worker: `GET /` and `/livez` report that the process is alive, whether or not Lightning is reachable;
 * `POST /claim` claims at once and responds with 200 if that returned runs, otherwise with 204. Rejects with `openfn-invalid` if the port
 * is unavailable.
 */
async function serveHealth(port: number, host: string | undefined, claimNow: (withinMs: number) => Promise<boolean>): Promise<Server> {
  const server = createServer(async (request, response) => {
    const path = (request.url ?? '').split('?')[0];
    request.resume();
    if (request.method === 'GET' && (path === '/' || path === '/livez')) response.writeHead(200).end('OK');
    else if (request.method === 'POST' && path === '/claim') {
      if (await claimNow(CLAIM_MS)) response.writeHead(200).end('complete');
      else response.writeHead(204).end();
    } else response.writeHead(404).end();
  });
  server.requestTimeout = 10_000;
  server.listen(port, host);
  try {
    await once(server, 'listening');
  } catch (thrown) {
    throw listenError(thrown, LightningError.of('openfn-invalid'), `port ${port}`);
  }
  return server;
}
