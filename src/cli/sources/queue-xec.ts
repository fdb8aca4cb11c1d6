import { checkTcp } from '../health/check-tcp.js';
import { queueXecRoom } from '../queue-xec-room.js';
import type { SourceCommand } from './source-command.js';

/** Jobs of a queue-xec 2 Master. */
export const queueXecCommand: SourceCommand = {
  name: 'queue-xec',
  configured: ({ queueXecToken }) => queueXecToken !== undefined,
  questions: ['queueXecToken', 'queueXecKey'],
  /** Who is in the room is known only to who stands in it for a while; those that the owner named can be asked. */
  async check({ queueXecPeers: peers = [] }, { signal }) {
    if (peers.length === 0)
      return [{ name: 'queue-xec', state: 'ok', detail: 'its Master is looked for in the LAN and the DHT while the Worker runs' }];
    return Promise.all(peers.map((peer) => checkTcp('queue-xec', peer, { variable: 'PEERWORK_QUEUE_XEC_PEERS', signal })));
  },
  async setup(options) {
    const room = queueXecRoom(options);
    const { queueXecSource } = await import('../../sources/queue-xec/setup.js');
    return queueXecSource(room);
  },
};
