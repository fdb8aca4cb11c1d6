import * as v from 'valibot';
import type { Clock, Timer } from '../../../clock.js';
import { asPeerworkError, PeerworkError } from '../../../errors.js';
import type { Log } from '../../../log.js';
import { QueueXecError } from '../errors.js';
import type { Room } from '../protocol/room.js';
import type { TransferKey } from '../protocol/transfer.js';
import { readAssets } from './assets.js';
import type { TaskShelf } from './task-shelf.js';

const CALL_MS = 10_000;
/** Transferring a task of 300 KB takes a real Master three seconds. */
const ASSETS_MS = 60_000;
/** Interval at which all members are queried while there is no Master. */
const SEEK_MS = 10_000;
/** Interval at which changed files are requested, because a Master may change them without notice. */
const ASSETS_REFRESH_MS = 30_000;
/** Time without a Master after which a warning is logged. */
const ABSENT_MS = 30_000;

/** `peerwork` marks a Master of ours, whose connections have no size limits. */
const masterReply = v.object({ isMaster: v.literal('yes'), peerwork: v.optional(v.unknown()) });

export interface RoomMasterOptions {
  readonly room: Room;
  readonly key: TransferKey;
  readonly shelf: TaskShelf;
  readonly clock: Clock;
  readonly log: Log;
  readonly onFound: () => void;
  readonly onWarning: (error: PeerworkError) => void;
}

/**
 * Determines which member of the room is the Master. Any member may claim to be it; the claim is accepted if its files decrypt with the
 * transfer key, which a stranger with only the token cannot forge. The first Master is kept as long as it is connected.
 */
export class RoomMaster {
  readonly #options: RoomMasterOptions;
  readonly #checking = new Set<string>();
  readonly #startedAt: number;
  #address: string | undefined;
  #isOurs = false;
  #assetsAt = 0;
  #seeking: Timer | undefined;

  constructor(options: RoomMasterOptions) {
    this.#options = options;
    this.#startedAt = options.clock.now();
    this.#seek();
  }

  get address(): string | undefined {
    return this.#address;
  }

  /** Whether the Master is one of ours, which needs no throttling. */
  get isOurs(): boolean {
    return this.#isOurs;
  }

  seen(address: string): void {
    if (this.#address === undefined) void this.#check(address);
  }

  gone(address: string): void {
    if (this.#address !== address) return;
    this.#address = undefined;
    this.#options.log.info('the queue-xec Master is gone', { address });
    for (const other of this.#options.room.members()) void this.#check(other);
  }

  /** Closes the connections to an unresponsive Master and reconnects at once. */
  hangUp(): void {
    if (this.#address !== undefined) this.#options.room.renewLink(this.#address);
  }

  /** Whether the Master replies to a ping. */
  async isResponsive(withinMs = CALL_MS): Promise<boolean> {
    const { room } = this.#options;
    if (this.#address === undefined) return false;
    return room.call(this.#address, 'ping', {}, { timeoutMs: withinMs }).answered.then(
      () => true,
      () => false,
    );
  }

  /** Requests changed files, unless that was done recently. Never rejects; on failure the current files stay in use. */
  async refresh(): Promise<void> {
    const address = this.#address;
    if (address === undefined || this.#options.clock.now() - this.#assetsAt < ASSETS_REFRESH_MS) return;
    try {
      await this.#fetch(address, this.#options.shelf.hash);
    } catch (error) {
      this.#options.log.debug('the files were not renewed', { error });
      if (error instanceof PeerworkError && error.code.startsWith('queue-xec')) this.#options.onWarning(error);
    }
  }

  /** Fetches the files even if they are unchanged. Without a Master, they come with the next one. */
  async renew(): Promise<void> {
    const address = this.#address;
    if (address === undefined) return;
    await this.#fetch(address, '');
    this.#options.onFound();
  }

  close(): void {
    this.#seeking?.cancel();
    this.#address = undefined;
  }

  #seek(): void {
    const { clock, room, onWarning } = this.#options;
    this.#seeking = clock.after(
      SEEK_MS,
      () => {
        if (this.#address === undefined) {
          for (const address of room.members()) void this.#check(address);
          if (clock.now() - this.#startedAt >= ABSENT_MS) onWarning(new QueueXecError('queue-xec-absent'));
        }
        this.#seek();
      },
      { unref: true },
    );
  }

  async #check(address: string): Promise<void> {
    if (this.#checking.has(address)) return;
    this.#checking.add(address);
    const { room, log, onFound, onWarning } = this.#options;
    try {
      const reply = await room.call(address, 'isMaster', {}, { timeoutMs: CALL_MS }).answered;
      if (!v.is(masterReply, reply)) return;
      // An empty hash makes it send its files.
      await this.#fetch(address, '');
      if (this.#address !== undefined || !room.members().includes(address)) return;
      this.#address = address;
      this.#isOurs = reply.peerwork === true;
      log.info('joined a queue-xec Master', { address });
      onFound();
    } catch (thrown) {
      const error = asPeerworkError(thrown);
      log.debug('a member is no Master for us', { address, error });
      if (!['link-lost', 'rpc-timeout', 'closed'].includes(error.code)) onWarning(error);
    } finally {
      this.#checking.delete(address);
    }
  }

  async #fetch(address: string, currentHash: string): Promise<void> {
    const { room, key, shelf, clock } = this.#options;
    const reply = await room.call(address, 'requestExecAssets', { currentHash }, { timeoutMs: ASSETS_MS }).answered;
    const assets = readAssets(reply, key);
    if (assets !== 'same') await shelf.put(assets);
    else if (currentHash === '') throw new QueueXecError('queue-xec-assets', 'it has none');
    this.#assetsAt = clock.now();
  }
}
