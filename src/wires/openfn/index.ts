/** What the package exports of this wire, as `peerwork/wires/openfn` and among the rest of `peerwork`. */

export { type OpenfnRunnerOptions, openfnRunner } from './runner/openfn-runner.js';
export { type OpenfnSourceOptions, openfnSource } from './source/openfn-source.js';
