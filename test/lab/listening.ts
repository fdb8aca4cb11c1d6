import { getEventListeners } from 'node:events';

/** What listens to the signals of this process, from `start` on: a signal that lives long must not gather what each operation leaves. */
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

  /** The most that listen to one of them. */
  get most(): number {
    return Math.max(0, ...[...this.#signals].map((signal) => getEventListeners(signal, 'abort').length));
  }

  end(): void {
    Reflect.deleteProperty(AbortSignal.prototype, 'addEventListener');
  }
}
