import { EventEmitter } from 'node:events';
import { PeerworkError } from '../errors.js';
import { errorPart, wordsOf } from './error-parts.js';

/**
 * Emits events to code of the embedding program. A listener that throws must not interrupt whatever emitted the event, such as the
 * settlement of a job: its error is logged as `listener-threw`.
 */
export abstract class GuardedEmitter<Events extends Record<keyof Events, unknown[]>> extends EventEmitter<Events> {
  constructor() {
    super();
    const emit: (event: never, ...args: never) => boolean = this.emit.bind(this);
    // Assigned instead of overridden: the generic signature of `emit` cannot be repeated here.
    this.emit = (event: unknown, ...args: unknown[]) => this.guard(String(event), () => emit(event as never, ...(args as never))) ?? true;
  }

  /**
   * Calls code of the embedding program and reports what it throws under `name`. An error thrown by an `error` listener becomes an
   * unhandled rejection.
   */
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
