/** Public exports of this wire: `peerwork/wires/dory`, re-exported by `peerwork`. */

export { type DorySourceOptions, dorySource } from './source/setup.js';
export type { OperationalSettings } from './source/shapes.js';
export type { DoryTiming } from './source/timing.js';
