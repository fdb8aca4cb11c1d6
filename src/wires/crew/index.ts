/** Public exports of this wire: `peerwork/wires/crew`, re-exported by `peerwork`. */

export type { CrewOptions } from './server/context.js';
export { crewServer } from './server/crew.js';
export type { CrewPlace } from './source/client.js';
export { type CrewSourceOptions, crewSource } from './source/crew-source.js';
export type { CrewEndpointOptions } from './source/endpoint.js';
