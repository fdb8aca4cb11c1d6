/** The swarm as those above it see it. */
export { MasterSwarm, type MasterSwarmEvents, type MasterSwarmOptions } from './master-swarm.js';
export type { SwarmOptions, SwarmTimes } from './swarm-settings.js';
export { WorkerSwarm, type WorkerSwarmEvents } from './worker-swarm.js';
