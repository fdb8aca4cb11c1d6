import type { Options } from '../../config.js';
import type { RunnerSetup } from '../../runners/setup.js';

/** A way to run jobs as the command line knows it: one file in this folder, and a line in `index.ts`. */
export interface RunnerCommand {
  readonly kind: string;
  /** Whether the options ask for it; where they say nothing, whether it should be tried. */
  wanted(options: Options): boolean;
  /** Loads its code only now. */
  setup(options: Options): Promise<RunnerSetup>;
}
