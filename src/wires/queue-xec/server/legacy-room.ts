import type { Timer } from '../../../clock.js';
import { asPeerworkError, PeerworkError } from '../../../errors.js';
import type { LeaseKey } from '../../../job/verbs.js';
import { conceal } from '../../../log.js';
import type { ConnectedWorker } from '../../../master/connected-worker.js';
import type { JobService } from '../../../master/job-service.js';
import type { ServerSetup, WorkersContext, WorkersServer } from '../../../master/server-setup.js';
import { QueueXecError } from '../errors.js';
import type { RoomHandler } from '../protocol/calls.js';
import { type Meeting, Room } from '../protocol/room.js';
import { TransferKey } from '../protocol/transfer.js';
import { Bundles } from './bundle.js';
import { LegacyWorker } from './legacy-worker.js';

/** Grace period for a lost link to come back; the address stays the same as long as the Worker's process lives. */
const GRACE_MS = 3_000;
/** Limit against strangers that join under ever new addresses. */
const MAX_WORKERS = 1_024;

/** A queue-xec room whose Workers this Master serves. */
export interface LegacyQueueXecOptions extends Meeting {
  // generated from queueXecServer by `npm run generate`
  /** Token of the room, the same as the other side's. Anyone who has it can join; only the key protects anything. */
  readonly token: string;
  /** The transfer key of the room: exactly 32 bytes. */
  readonly transferEncryptToken: string;
  // end
}

/** Gives jobs to the Workers of a queue-xec room: `new Master({ serve: [queueXecServer({ token, transferEncryptToken })] })`. */
export function queueXecServer(options: LegacyQueueXecOptions): ServerSetup {
  return { name: 'queue-xec', workers: (context) => new LegacyRoom(options, context) };
}

const WEAKER =
  'queue-xec Workers are served: anyone with their token can join and see who works here; only the transfer key, one for all of them ' +
  'and without protection against changes, keeps jobs and results from strangers';

/**
 * The Master of a queue-xec room: its Workers lease jobs from the ledger like all others. They are never called and never told to leave,
 * because either makes them exit.
 */
class LegacyRoom implements WorkersServer {
  readonly #service: JobService;
  readonly #hooks: Omit<WorkersContext, 'service' | 'tasks'>;
  readonly #key: TransferKey;
  readonly #bundles: Bundles;
  readonly #room: Room;
  readonly #workers = new Map<string, LegacyWorker>();
  readonly #leaving = new Map<string, Timer>();
  #beat: Timer | undefined;
  #closed = false;

  /** Throws `option-invalid` for an invalid token or key. */
  constructor({ token, transferEncryptToken, ...meeting }: LegacyQueueXecOptions, { service, tasks, ...hooks }: WorkersContext) {
    if (token === '') throw new PeerworkError('option-invalid', 'the queue-xec token is empty');
    this.#key = new TransferKey(transferEncryptToken);
    conceal(token);
    conceal(transferEncryptToken);
    this.#service = service;
    this.#hooks = hooks;
    this.#bundles = new Bundles(tasks, hooks.onWarning);
    const { clock, log } = service;
    this.#room = new Room({
      ...meeting,
      token,
      clock,
      log,
      serve: this.#handlers(),
      onSeen: (address) => this.#cancelLeave(address),
      onGone: (address) => this.#leave(address),
      onSkew: (skewMs) =>
        hooks.onWarning(new QueueXecError('queue-xec-clock', `by about ${Math.round(Math.abs(skewMs) / 60_000)} minutes`)),
    });
  }

  /** Port that the room listens on. */
  get port(): number {
    return this.#room.port;
  }

  /** Rejects with `queue-xec-listen`. */
  async start(): Promise<void> {
    this.#service.log.warn(WEAKER, {
      hint: 'Keep that token private, and replace these Workers by peerwork Workers when you can.',
    });
    await this.#room.start();
    this.#scheduleBeat();
  }

  list(): ConnectedWorker[] {
    return [...this.#workers.values()].filter(({ proven }) => proven).map(describe);
  }

  /** Makes Workers fetch a changed task. They request files only from a Master they do not know yet, so the room takes a new identity. */
  published(): void {
    if (this.#closed || this.#workers.size === 0) return;
    for (const worker of this.#workers.values()) worker.withdraw();
    this.#room.renew();
  }

  /** Ignores the outcome of a run from now on. */
  cancel(workerId: string, lease: LeaseKey): void {
    for (const worker of this.#workers.values()) if (worker.ref.id === workerId) worker.forget(lease);
  }

  /** Closes the link of a worker. */
  dismiss(workerId: string): void {
    for (const [address, worker] of this.#workers) if (worker.ref.id === workerId) this.#room.hangUp(address);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#beat?.cancel();
    for (const timer of this.#leaving.values()) timer.cancel();
    for (const worker of this.#workers.values()) worker.withdraw();
    await this.#room.close();
  }

  #handlers(): ReadonlyMap<string, RoomHandler> {
    return new Map<string, RoomHandler>([
      ['isMaster', async (_from, args) => ({ ...Object(args), isMaster: 'yes', peerwork: true })],
      ['ping', async (_from, args) => ({ ...Object(args), pong: true })],
      [
        'requestExecAssets',
        async (from, args) => this.#serve(from, async (worker) => worker.requestExecAssets(args, await this.#bundles.current())),
      ],
      ['requestWork', async (from, args) => this.#serve(from, async (worker) => worker.requestWork(args, await this.#bundles.current()))],
      ['shareResults', async (from, args) => this.#serve(from, (worker) => worker.shareResults(args))],
    ]);
  }

  /** Sends no reply if the handler fails: a message that a queue-xec Worker does not understand may make it exit. */
  async #serve(address: string, serve: (worker: LegacyWorker) => Promise<object | undefined>): Promise<object | undefined> {
    const worker = this.#workerAt(address);
    if (worker === undefined) return undefined;
    try {
      return await serve(worker);
    } catch (error) {
      this.#hooks.onWarning(asPeerworkError(error));
      return undefined;
    }
  }

  #workerAt(address: string): LegacyWorker | undefined {
    const known = this.#workers.get(address);
    if (known !== undefined || this.#closed) return known;
    if (this.#workers.size >= MAX_WORKERS) {
      const stranger = [...this.#workers].find(([, { proven }]) => !proven)?.[0];
      if (stranger === undefined) return undefined;
      this.#workers.delete(stranger);
    }
    const worker: LegacyWorker = new LegacyWorker({
      address,
      service: this.#service,
      key: this.#key,
      onProven: () => this.#hooks.onConnected(describe(worker)),
    });
    this.#workers.set(address, worker);
    // A Worker that is reached only through other members has no link whose end would be noticed.
    if (!this.#room.members().includes(address)) this.#leave(address);
    return worker;
  }

  #cancelLeave(address: string): void {
    this.#leaving.get(address)?.cancel();
    this.#leaving.delete(address);
  }

  #leave(address: string): void {
    const { clock, log } = this.#service;
    this.#cancelLeave(address);
    if (this.#closed || !this.#workers.has(address)) return;
    const gone = () => {
      this.#leaving.delete(address);
      const worker = this.#workers.get(address);
      if (worker === undefined || this.#room.members().includes(address)) return;
      this.#workers.delete(address);
      if (worker.proven) this.#hooks.onDisconnected(describe(worker), new PeerworkError('link-lost', address));
      worker.leave().catch((error: unknown) =>
        log.warn('leases of a queue-xec Worker could not be ended', {
          error,
          hint: 'No action needed; the leases expire by themselves.',
        }),
      );
    };
    this.#leaving.set(address, clock.after(GRACE_MS, gone, { unref: true }));
  }

  #scheduleBeat(): void {
    const { clock, log, beatMs } = this.#service;
    this.#beat = clock.after(
      beatMs,
      async () => {
        for (const worker of this.#workers.values())
          await worker.extend().catch((error: unknown) => log.debug('leases could not be renewed', { error }));
        if (!this.#closed) this.#scheduleBeat();
      },
      { unref: true },
    );
  }
}

function describe(worker: LegacyWorker): ConnectedWorker {
  const { ref, connectedAt, running } = worker;
  return {
    ...ref,
    path: 'direct',
    connectMs: 0,
    connectedAt,
    running,
    roundTripMs: undefined,
    traffic: { sent: 0, received: 0 },
    version: 'queue-xec',
    concurrency: 1,
    isolation: 'a queue-xec Worker: none',
    platform: 'unknown',
    labels: [],
    runners: ['task-module'],
  };
}
