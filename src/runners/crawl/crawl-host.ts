import type { Clock } from '../../clock.js';
import type { ContainerEngine } from '../../containers/container-engine.js';
import type { ImageFacts } from '../../containers/images.js';
import type { PublicInternet } from '../../egress/addresses.js';
import type { Log } from '../../log.js';

export type HeldImage = ImageFacts & { readonly name: string; release(): void };

/** What the runner lends to each run. */
export interface CrawlHost {
  readonly engine: ContainerEngine;
  readonly clock: Clock;
  readonly log: Log;
  readonly timeoutGraceMs: number;
  /** Takes the variables of the containers: what is secret among them is not kept of what they print. */
  readonly learn: (env: Readonly<Record<string, string>>) => void;
  readonly internet?: PublicInternet;
}
