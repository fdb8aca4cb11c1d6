import type { CandidateKind } from './sdp.js';

/** Grace period after the last awaited kind of candidate: further ones of that kind arrive at the same moment. */
const graceMs = 20;
/** A STUN server that is down must not cost more than this; the library itself would wait 23.5 s. */
const capMs = 750;

/**
 * Decides when enough local candidates are known to send the description. The library reports "complete" only when every server has
 * responded or timed out; here one candidate of each expected kind is enough.
 */
export class Gathering {
  readonly #missing: Set<CandidateKind>;
  #done: (() => void) | undefined;
  #cap: NodeJS.Timeout | undefined;
  #grace: NodeJS.Timeout | undefined;

  constructor(awaited: Iterable<CandidateKind>, done: () => void) {
    this.#missing = new Set(awaited);
    this.#done = done;
  }

  start(): void {
    this.#cap ??= setTimeout(() => this.finish(), capMs);
  }

  saw(kind: CandidateKind): void {
    this.#missing.delete(kind);
    if (this.#missing.size === 0 && this.#done !== undefined) this.#grace ??= setTimeout(() => this.finish(), graceMs);
  }

  finish(): void {
    const done = this.#done;
    this.stop();
    done?.();
  }

  stop(): void {
    clearTimeout(this.#cap);
    clearTimeout(this.#grace);
    this.#done = undefined;
  }
}
