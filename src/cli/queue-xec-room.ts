import type { Options } from '../config.js';
import { PeerworkError } from '../errors.js';
import type { Meeting, PeerAt } from '../wires/queue-xec/room.js';

/** What Worker and Master alike need of the options to enter a queue-xec room. Throws `option-invalid` if token or key is missing. */
export function queueXecRoom(options: Options): Meeting & { readonly token: string; readonly transferEncryptToken: string } {
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
