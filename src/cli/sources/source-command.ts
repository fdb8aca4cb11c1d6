import type { Options } from '../../config.js';
import type { SourceSetup } from '../../sources/setup.js';

/** A source as the command line knows it: one file in this folder, and a line in `index.ts`. */
export interface SourceCommand {
  readonly name: string;
  /** Whether the options switch it on. */
  configured(options: Options): boolean;
  /** Loads its code only now. Throws `option-invalid` if something is missing beside what switched it on. */
  setup(options: Options): Promise<SourceSetup>;
}
