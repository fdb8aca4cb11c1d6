import type { OptionName, Options } from '../../config.js';
import type { Check, CheckContext } from '../../job/health.js';
import type { SourceSetup } from '../../sources/setup.js';

/** A source as the command line knows it: one file in this folder, and a line in `index.ts`. */
export interface SourceCommand {
  readonly name: string;
  /** Whether the options switch it on. */
  configured(options: Options): boolean;
  /** Loads its code only now. Throws `option-invalid` if something is missing beside what switched it on. */
  setup(options: Options): Promise<SourceSetup>;
  /** What `peerwork configure` asks of those who choose this source, in this order; the first should be what switches it on. */
  readonly questions?: readonly OptionName[];
  /** Rejects with what a person has to settle before a start, such as a log-in: `configure`, `start` and `start-bg` then end with 3. */
  ready?(options: Options): Promise<void>;
  /** What `peerwork health` asks where the source is configured; `checkRedis` and `checkHttp` of `src/cli/health/` may help. Never rejects. */
  check?(options: Options, context: CheckContext): Promise<readonly Check[]>;
}
