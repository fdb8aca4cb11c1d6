import type { Clock } from '../../clock.js';
import type { ContainerEngine } from '../../containers/container-engine.js';
import type { ImageFacts } from '../../containers/images.js';
import type { PublicInternet } from '../../egress/addresses.js';
import type { Log } from '../../log.js';

export type HeldImage = ImageFacts & { readonly name: string; release(): void };

/** The runner's resources that a run uses. */
export interface CrawlHost {
  readonly engine: ContainerEngine;
  readonly clock: Clock;
  readonly log: Log;
  readonly timeoutGraceMs: number;
  /** Registers variables of the containers, so that secrets among them are redacted from their stored output. */
  readonly learn: (env: Readonly<Record<string, string>>) => void;
  readonly internet?: PublicInternet;
}
