import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PeerworkError } from '../../../errors.js';
import { DEFAULT_TIMEOUT_MS } from '../../../job/limits.js';
import { conceal } from '../../../log.js';
import type { SourceContext, SourceSetup } from '../../../sources/setup.js';
import { DEFAULT_NAME } from '../defaults.js';
import { QueueXecError } from '../errors.js';
import { type Meeting, Room } from '../protocol/room.js';
import { TransferKey } from '../protocol/transfer.js';
import { Backlog } from './backlog.js';
import { QueueXecSource } from './queue-xec-source.js';
import { Results } from './results.js';
import { RoomMaster } from './room-master.js';
import { TaskShelf } from './task-shelf.js';

export interface QueueXecSourceOptions extends Meeting {
  // generated from queueXecSource by `npm run generate`
  /** Token of the room, the same as the other side's. Anyone who has it can join; only the key protects anything. */
  readonly token: string;
  /** The transfer key of the room: exactly 32 bytes. */
  readonly transferEncryptToken: string;
  /** Name of the source; a Worker in several rooms needs a distinct one for each. Default: `queue-xec`. */
  readonly name?: string;
  /** Time limit of one run, since queue-xec has none; 0 is none. Default: 3,600,000 ms. */
  readonly timeoutMs?: number;
  // end
}

export interface QueueXecSetup extends SourceSetup {
  open(context: SourceContext): Promise<QueueXecSource>;
}

/** Takes jobs from a queue-xec 2 Master. Throws `option-invalid` for an invalid token or key. */
export function queueXecSource(options: QueueXecSourceOptions): QueueXecSetup {
  const { token, transferEncryptToken, name = DEFAULT_NAME, timeoutMs = DEFAULT_TIMEOUT_MS, ...meeting } = options;
  if (token === '') throw new PeerworkError('option-invalid', 'the queue-xec token is empty');
  const key = new TransferKey(transferEncryptToken);
  conceal(token);
  conceal(transferEncryptToken);
  return {
    name,
    async open({ worker, folder, clock, log, openOutbox, localTask, warning }) {
      const assets = join(folder, 'assets');
      await mkdir(assets, { recursive: true, mode: 0o700 });
      const backlog = await Backlog.open(join(folder, 'backlog'), clock.now(), log);
      const outbox = await openOutbox();
      const shelf = new TaskShelf(assets, name, localTask, log);
      const shared = { clock, log, key };
      // The only call that members may make to a Worker.
      const serve = new Map([['ping', async (_from: string, args: unknown) => ({ ...Object(args), pong: true })]]);
      const room: Room = new Room({
        ...meeting,
        token,
        serve,
        clock,
        log,
        onSeen: (address) => master.seen(address),
        onGone: (address) => master.gone(address),
        onSkew: (skewMs) => warning(new QueueXecError('queue-xec-clock', `by about ${Math.round(Math.abs(skewMs) / 60_000)} minutes`)),
      });
      const found = () => {
        results.wake();
        source.wake();
      };
      const master: RoomMaster = new RoomMaster({ ...shared, room, shelf, onFound: found, onWarning: warning });
      const results: Results = new Results({
        ...shared,
        outbox,
        worker,
        share: (sealed, timeoutMs) =>
          master.address === undefined ? undefined : room.call(master.address, 'shareResults', sealed, { timeoutMs, echoAnswers: true }),
        isOurs: () => master.isOurs,
        isRequesting: () => source.isRequesting,
        onRoom: () => source.wake(),
        onStuck: () => master.hangUp(),
      });
      const parts = { ...shared, name, channel: name, timeoutMs, room, master, shelf, backlog, results };
      const source: QueueXecSource = new QueueXecSource({ ...parts, onWarning: warning, onClose: () => outbox.close() });
      try {
        await room.start();
      } catch (error) {
        await source.close();
        throw error;
      }
      return source;
    },
  };
}
