/** Public exports of this wire: `peerwork/wires/crew`, re-exported by `peerwork`. */

export type { CrewOptions } from './server/context.js';
export { crewServer } from './server/crew.js';
export { crewSource } from './source/crew-source.js';
export type { CrewEndpointOptions, CrewPlace, CrewSourceOptions } from './source/options.js';
