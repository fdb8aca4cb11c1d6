/** Public exports of this wire: `peerwork/wires/openfn`, re-exported by `peerwork`. */

export { type OpenfnRunnerOptions, openfnRunner } from './runner/openfn-runner.js';
export { type OpenfnSourceOptions, openfnSource } from './source/openfn-source.js';
