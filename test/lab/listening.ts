import { getEventListeners } from 'node:events';

/** Counts listeners on the signals of this process, from `start` on: a long-lived signal must not accumulate what each operation adds. */
export class Listening {
  readonly #signals = new Set<AbortSignal>();

  static start(): Listening {
    const listening = new Listening();
    const signals = listening.#signals;
    const { addEventListener } = EventTarget.prototype;
    AbortSignal.prototype.addEventListener = function (this: AbortSignal, ...args: Parameters<typeof addEventListener>) {
      signals.add(this);
      addEventListener.apply(this, args);
    };
    return listening;
  }

  /** The highest number of listeners on one signal. */
  get most(): number {
    return Math.max(0, ...[...this.#signals].map((signal) => getEventListeners(signal, 'abort').length));
  }

  end(): void {
    Reflect.deleteProperty(AbortSignal.prototype, 'addEventListener');
  }
}
