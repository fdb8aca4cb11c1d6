import { PeerworkError } from '../../errors.js';
import type { Log } from '../../log.js';
import type { RpcHandlers } from '../peer.js';
import { Kind } from './messages.js';
import { malformed } from './reader.js';
import { formatAnswer, formatRefusal, parseCall } from './text.js';
import type { Writer } from './writer.js';

/** Calls in progress; further ones are refused. */
export const MAX_SERVED_CALLS = 256;
/** Characters waiting to be sent: above it calls are refused, above twice as many the link ends. */
const MAX_WAITING_CHARS = 64 * 1024 * 1024;

/** Serves the peer's calls and notes. */
export class ServedCalls {
  readonly #writer: Writer;
  readonly #handlers: RpcHandlers;
  readonly #log: Log;
  readonly #running = new Map<number, AbortController>();

  constructor(writer: Writer, handlers: RpcHandlers, log: Log) {
    this.#writer = writer;
    this.#handlers = handlers;
    this.#log = log;
  }

  /** Throws `frame-malformed`, or `rpc-overloaded` if the peer keeps calling without reading the replies. */
  onCall(id: number, text: string): void {
    if (this.#running.has(id)) throw malformed('an id in use');
    const { verb, args } = parseCall(text);
    const handler = own(this.#handlers.calls, verb);
    if (this.#writer.waitingChars > 2 * MAX_WAITING_CHARS) throw new PeerworkError('rpc-overloaded');
    if (this.#running.size >= MAX_SERVED_CALLS || this.#writer.waitingChars > MAX_WAITING_CHARS) {
      this.#refuse(id, new PeerworkError('rpc-overloaded'));
      return;
    }
    if (handler === undefined) {
      this.#refuse(id, new PeerworkError('rpc-unknown-verb', verb));
      return;
    }
    const controller = new AbortController();
    this.#running.set(id, controller);
    try {
      const answer = handler(args, controller.signal);
      if (!isPromise(answer)) {
        this.#settle(id, verb, answer);
        return;
      }
      answer.then(
        (value) => this.#settle(id, verb, value),
        (error: unknown) => this.#fail(id, verb, error),
      );
    } catch (error) {
      this.#fail(id, verb, error);
    }
  }

  /** Throws `frame-malformed`. */
  onNote(text: string): void {
    const { verb, args } = parseCall(text);
    const handler = own(this.#handlers.notes, verb);
    if (handler === undefined) {
      this.#log.debug('unknown note', { verb });
      return;
    }
    const failed = (error: unknown) =>
      this.#log.warn('a note could not be handled', {
        verb,
        error,
        hint: 'Update peerwork on both sides; if it persists, report it with the log at LOG_LEVEL=debug.',
      });
    try {
      const result: unknown = handler(args);
      if (isPromise(result)) result.then(undefined, failed);
    } catch (error) {
      failed(error);
    }
  }

  /** Returns false if there is no such running call. */
  onCancel(id: number): boolean {
    const controller = this.#running.get(id);
    this.#running.delete(id);
    controller?.abort(new PeerworkError('rpc-cancelled'));
    return controller !== undefined;
  }

  end(reason: PeerworkError): void {
    const controllers = [...this.#running.values()];
    this.#running.clear();
    for (const controller of controllers) controller.abort(reason);
  }

  #settle(id: number, verb: string, answer: unknown): void {
    if (!this.#running.has(id)) return;
    try {
      const { text, bytes } = formatAnswer(answer);
      this.#running.delete(id);
      this.#writer.letter(Kind.answer, id, text, bytes);
    } catch (error) {
      this.#fail(id, verb, error);
    }
  }

  #fail(id: number, verb: string, error: unknown): void {
    if (!this.#running.delete(id)) return;
    if (!(error instanceof PeerworkError))
      this.#log.error('a call could not be handled', {
        verb,
        error,
        hint: 'Update peerwork on both sides; if it persists, report it with the log at LOG_LEVEL=debug.',
      });
    this.#refuse(id, error);
  }

  #refuse(id: number, error: unknown): void {
    this.#writer.letter(Kind.refusal, id, formatRefusal(error));
  }
}

/** Looks up an own property, never an inherited one such as `constructor`. */
export function own<T>(table: Readonly<Record<string, T>> | undefined, verb: string): T | undefined {
  return table !== undefined && Object.hasOwn(table, verb) ? table[verb] : undefined;
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}
