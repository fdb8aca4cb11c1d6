import type { OptionName, Options } from '../../config.js';
import type { Check, CheckContext } from '../../job/health.js';
import type { RunnerSetup } from '../../runners/setup.js';

/** A way to run jobs as the command line knows it: one file in this folder, and a line in `index.ts`. */
export interface RunnerCommand {
  readonly kind: string;
  /** Whether the options ask for it; where they say nothing, whether it should be tried. */
  wanted(options: Options): boolean;
  /** Loads its code only now. */
  setup(options: Options): Promise<RunnerSetup>;
  /** What `peerwork configure` asks, in this order. */
  readonly questions?: readonly OptionName[];
  /** What `peerwork health` asks where it is wanted, such as the container engine. Never rejects. */
  check?(options: Options, context: CheckContext): Promise<readonly Check[]>;
}
