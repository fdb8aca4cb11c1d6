/** Public exports of this wire: `peerwork/wires/worqr`, re-exported by `peerwork`. */

export type { WorqrData } from './source/lease.js';
export type { WorqrPlace, WorqrSourceOptions } from './source/options.js';
export { type WorqrDone, WorqrProducer, type WorqrProducerOptions, type WorqrTask } from './source/producer.js';
export { worqrSource } from './source/worqr-source.js';
