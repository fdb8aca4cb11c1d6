// What @openfn/engine-multi imports from @openfn/compiler.
export { compile as default, preloadAdaptorExports } from '../../build/src/wires/openfn/runner/compiler/compile.js';
