/** Public exports of this wire: `peerwork/wires/queue-xec`, re-exported by `peerwork`. */

export type { DhtOptions } from './protocol/dht.js';
export type { LsdOptions } from './protocol/lsd.js';
export type { Meeting, PeerAt } from './protocol/room.js';
export { type LegacyQueueXecOptions, queueXecServer } from './server/legacy-room.js';
export { type QueueXecSetup, type QueueXecSourceOptions, queueXecSource } from './source/setup.js';
