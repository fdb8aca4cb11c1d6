import type { OptionsOf } from '../../config/option.js';
import { PeerworkError } from '../../errors.js';
import { requirePackages } from '../../kit/optional-package.js';
import { checkTcp } from '../health/check-tcp.js';
import type { Wire } from '../wire.js';
import { QueueXecError } from './errors.js';
import { queueXecOptions } from './options.js';
import type { Meeting, PeerAt } from './protocol/room.js';

/** The wire for queue-xec 2: takes jobs from its Masters, and serves its Workers. */
export const queueXec: Wire<typeof queueXecOptions> = {
  name: 'queue-xec',
  summary: 'a queue-xec 2 Master; and how a Master of ours serves queue-xec 2 Workers',
  options: queueXecOptions,
  errors: QueueXecError,
  configured: ({ queueXecToken }) => queueXecToken !== undefined,
  questions: ['queueXecToken', 'queueXecKey'],
  /** The members of a room are known only after being in it for a while, so only those that the owner configured are checked. */
  async check({ queueXecPeers: peers = [] }, { signal }) {
    if (peers.length === 0)
      return [{ name: 'queue-xec', state: 'ok', detail: 'its Master is looked for in the LAN and the DHT while the Worker runs' }];
    return Promise.all(peers.map((peer) => checkTcp('queue-xec', peer, { variable: 'PEERWORK_QUEUE_XEC_PEERS', signal })));
  },
  async server(options) {
    if (!options.legacyQueueXec) return undefined;
    const room = queueXecRoom(options);
    if (room.dht !== false) await requirePackages('bittorrent-dht').catch(() => {});
    const { queueXecServer } = await import('./server/legacy-room.js');
    return queueXecServer(room);
  },
  async setup(options) {
    const room = queueXecRoom(options);
    // Without the package, the DHT logs that it does not work, and the room is discovered in the LAN only.
    if (room.dht !== false) await requirePackages('bittorrent-dht').catch(() => {});
    const { queueXecSource } = await import('./source/setup.js');
    return queueXecSource(room);
  },
};

/** Reads the options that Worker and Master need to enter a queue-xec room. Throws `option-invalid` if token or key is missing. */
function queueXecRoom(
  options: OptionsOf<typeof queueXecOptions>,
): Meeting & { readonly token: string; readonly transferEncryptToken: string } {
  const { queueXecToken: token, queueXecKey: transferEncryptToken, queueXecPeers, queueXecListen, queueXecLsd, queueXecDht } = options;
  if (token === undefined) throw new PeerworkError('option-invalid', '`PEERWORK_QUEUE_XEC_TOKEN` is missing');
  if (transferEncryptToken === undefined) throw new PeerworkError('option-invalid', '`PEERWORK_QUEUE_XEC_KEY` is missing');
  const isSwitch = queueXecDht?.length === 1 && /^(yes|no)$/.test(queueXecDht[0] ?? '');
  return {
    token,
    transferEncryptToken,
    ...(queueXecPeers !== undefined && { peers: queueXecPeers.map(peerAt) }),
    ...(queueXecListen !== undefined && { listen: peerAt(queueXecListen) }),
    ...(!queueXecLsd && { lsd: false as const }),
    ...(queueXecDht !== undefined && { dht: isSwitch ? queueXecDht[0] === 'yes' && {} : { nodes: queueXecDht } }),
  };
}

function peerAt(text: string): PeerAt {
  const at = text.lastIndexOf(':');
  return { host: text.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(text.slice(at + 1)) };
}
