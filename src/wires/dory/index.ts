/** What the package exports of this wire, as `peerwork/wires/dory` and among the rest of `peerwork`. */

export { type DorySourceOptions, dorySource } from './source/setup.js';
export type { OperationalSettings } from './source/shapes.js';
export type { DoryTiming } from './source/timing.js';
