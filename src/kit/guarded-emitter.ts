import { EventEmitter } from 'node:events';
import { PeerworkError } from '../errors.js';
import { errorPart, wordsOf } from './error-parts.js';

/**
 * Emits events to the code of whoever embeds us. A listener that throws must not stop what was under way when it was called, such as the
 * settlement of a job: its error is logged as `listener-threw`.
 */
export abstract class GuardedEmitter<Events extends Record<keyof Events, unknown[]>> extends EventEmitter<Events> {
  constructor() {
    super();
    const emit: (event: never, ...args: never) => boolean = this.emit.bind(this);
    // Not a method: its generic signature cannot be written a second time.
    this.emit = (event: unknown, ...args: unknown[]) => this.guard(String(event), () => emit(event as never, ...(args as never))) ?? true;
  }

  /** Calls back into the code of the program; `name` is what the report calls it. */
  protected guard<T>(name: string, call: () => T): T | undefined {
    try {
      return call();
    } catch (thrown) {
      if (name === 'error') queueMicrotask(() => Promise.reject(thrown));
      else
        this.onListenerError(new PeerworkError('listener-threw', `${name}: ${wordsOf(errorPart(thrown) ?? { message: String(thrown) })}`));
      return undefined;
    }
  }

  protected abstract onListenerError(error: PeerworkError): void;
}
