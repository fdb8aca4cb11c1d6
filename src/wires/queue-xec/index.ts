/** What the package exports of this wire, as `peerwork/wires/queue-xec` and among the rest of `peerwork`. */

export type { DhtOptions } from './protocol/dht.js';
export type { LsdOptions } from './protocol/lsd.js';
export type { Meeting, PeerAt } from './protocol/room.js';
export { type LegacyQueueXecOptions, queueXecServer } from './server/legacy-room.js';
export { type QueueXecSetup, type QueueXecSourceOptions, queueXecSource } from './source/setup.js';
