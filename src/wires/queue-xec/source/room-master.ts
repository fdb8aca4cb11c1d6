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
/** A task of 300 KB takes a real Master three seconds. */
const ASSETS_MS = 60_000;
/** While there is no Master, everybody is asked this often. */
const LOOK_MS = 10_000;
/** The files of a Master may change while it runs; it tells nobody. */
const ASSETS_AGAIN_MS = 30_000;
/** Nobody was found for so long: worth a word. */
const ABSENT_MS = 30_000;

/** `peerwork`: ours, whose wire bears anything. */
const yes = v.object({ isMaster: v.literal('yes'), peerwork: v.optional(v.unknown()) });

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
 * Who of the room is the Master. Anybody may say so; it is believed when its files open with the transfer key, which a stranger who has
 * only the token cannot bring about. The first one stays for as long as it is linked.
 */
export class RoomMaster {
  readonly #options: RoomMasterOptions;
  readonly #asking = new Set<string>();
  readonly #startedAt: number;
  #address: string | undefined;
  #isOurs = false;
  #assetsAt = 0;
  #looking: Timer | undefined;

  constructor(options: RoomMasterOptions) {
    this.#options = options;
    this.#startedAt = options.clock.now();
    this.#look();
  }

  get address(): string | undefined {
    return this.#address;
  }

  /** A Master of ours, which can be written to without care. */
  get isOurs(): boolean {
    return this.#isOurs;
  }

  seen(address: string): void {
    if (this.#address === undefined) void this.#ask(address);
  }

  gone(address: string): void {
    if (this.#address !== address) return;
    this.#address = undefined;
    this.#options.log.info('the queue-xec Master is gone', { address });
    for (const other of this.#options.room.members()) void this.#ask(other);
  }

  /** Ends the wires to a Master that does not answer, and makes new ones at once. */
  hangUp(): void {
    if (this.#address !== undefined) this.#options.room.renewLink(this.#address);
  }

  /** Whether it answers at all. */
  async answers(withinMs = CALL_MS): Promise<boolean> {
    const { room } = this.#options;
    if (this.#address === undefined) return false;
    return room.call(this.#address, 'ping', {}, { timeoutMs: withinMs }).answered.then(
      () => true,
      () => false,
    );
  }

  /** Asks for changed files, unless it was asked a short while ago. Never rejects: the files at hand stay. */
  async refresh(): Promise<void> {
    const address = this.#address;
    if (address === undefined || this.#options.clock.now() - this.#assetsAt < ASSETS_AGAIN_MS) return;
    try {
      await this.#fetch(address, this.#options.shelf.hash);
    } catch (error) {
      this.#options.log.debug('the files were not renewed', { error });
      if (error instanceof PeerworkError && error.code.startsWith('queue-xec')) this.#options.onWarning(error);
    }
  }

  /** Fetches its files now, even if they are the same; with no Master there, they come with the next. */
  async renew(): Promise<void> {
    const address = this.#address;
    if (address === undefined) return;
    await this.#fetch(address, '');
    this.#options.onFound();
  }

  close(): void {
    this.#looking?.cancel();
    this.#address = undefined;
  }

  #look(): void {
    const { clock, room, onWarning } = this.#options;
    this.#looking = clock.after(
      LOOK_MS,
      () => {
        if (this.#address === undefined) {
          for (const address of room.members()) void this.#ask(address);
          if (clock.now() - this.#startedAt >= ABSENT_MS) onWarning(new QueueXecError('queue-xec-absent'));
        }
        this.#look();
      },
      { unref: true },
    );
  }

  async #ask(address: string): Promise<void> {
    if (this.#asking.has(address)) return;
    this.#asking.add(address);
    const { room, log, onFound, onWarning } = this.#options;
    try {
      const answer = await room.call(address, 'isMaster', {}, { timeoutMs: CALL_MS }).answered;
      if (!v.is(yes, answer)) return;
      // With an empty hash, so that it has to show files.
      await this.#fetch(address, '');
      if (this.#address !== undefined || !room.members().includes(address)) return;
      this.#address = address;
      this.#isOurs = answer.peerwork === true;
      log.info('joined a queue-xec Master', { address });
      onFound();
    } catch (thrown) {
      const error = asPeerworkError(thrown);
      log.debug('a member is no Master for us', { address, error });
      if (!['link-lost', 'rpc-timeout', 'closed'].includes(error.code)) onWarning(error);
    } finally {
      this.#asking.delete(address);
    }
  }

  async #fetch(address: string, currentHash: string): Promise<void> {
    const { room, key, shelf, clock } = this.#options;
    const answer = await room.call(address, 'requestExecAssets', { currentHash }, { timeoutMs: ASSETS_MS }).answered;
    const assets = readAssets(answer, key);
    if (assets !== 'same') await shelf.put(assets);
    else if (currentHash === '') throw new QueueXecError('queue-xec-assets', 'it has none');
    this.#assetsAt = clock.now();
  }
}
