// What @openfn/engine-multi imports from @openfn/compiler.
export { compile as default, preloadAdaptorExports } from '../../build/src/runners/openfn/compiler/compile.js';
