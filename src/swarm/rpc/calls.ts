import type { Clock } from '../../clock.js';
import { PeerworkError } from '../../errors.js';
import type { CallOptions } from '../peer.js';
import { Kind } from './messages.js';
import { onAbort } from './on-abort.js';
import { type Movement, Patience } from './patience.js';
import { formatCall, parseJson, parseRefusal } from './text.js';
import type { Letter, Writer } from './writer.js';

export const DEFAULT_CALL_TIMEOUT_MS = 30_000;

interface OpenCall {
  readonly letter: Letter;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly patience: Patience;
  readonly forgetSignal: (() => void) | undefined;
}

/** Our calls to the peer that are waiting for their replies. */
export class OpenCalls {
  readonly #writer: Writer;
  readonly #clock: Clock;
  readonly #movement: Movement;
  readonly #open = new Map<number, OpenCall>();

  constructor(writer: Writer, clock: Clock, movement: Movement) {
    this.#writer = writer;
    this.#clock = clock;
    this.#movement = movement;
  }

  has(id: number): boolean {
    return this.#open.has(id);
  }

  call(id: number, verb: string, args: unknown, options: CallOptions): Promise<unknown> {
    const { signal, timeoutMs = DEFAULT_CALL_TIMEOUT_MS } = options;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) throw new PeerworkError('rpc-cancelled');
      const { text, bytes } = formatCall(verb, args);
      const letter = this.#writer.letter(Kind.call, id, text, bytes);
      const forgetSignal = signal && onAbort(signal, () => this.#abandon(id, new PeerworkError('rpc-cancelled')));
      const onTimeout = () => this.#abandon(id, new PeerworkError('rpc-timeout', verb));
      const patience = new Patience(this.#clock, timeoutMs, letter, this.#movement, onTimeout);
      this.#open.set(id, { letter, resolve, reject, patience, forgetSignal });
    });
  }

  /** Throws `frame-malformed`. The reply to an abandoned call is ignored. */
  onAnswer(id: number, text: string): void {
    const answer = parseJson(text);
    this.#remove(id)?.resolve(answer);
  }

  onRefusal(id: number, text: string): void {
    this.#remove(id)?.reject(parseRefusal(text));
  }

  end(reason: PeerworkError): void {
    for (const id of [...this.#open.keys()]) this.#remove(id)?.reject(reason);
  }

  #abandon(id: number, error: PeerworkError): void {
    const call = this.#remove(id);
    if (call === undefined) return;
    cancel(this.#writer, id, call.letter);
    call.reject(error);
  }

  #remove(id: number): OpenCall | undefined {
    const call = this.#open.get(id);
    if (call === undefined) return undefined;
    this.#open.delete(id);
    call.patience.end();
    call.forgetSignal?.();
    return call;
  }
}

/** Notifies the peer that the result of what `letter` opened is no longer wanted; the cancellation must not overtake the letter. */
export function cancel(writer: Writer, id: number, letter: Letter): void {
  if (letter.state === 'written') writer.signal(Kind.cancel, id);
  else if (!writer.withdraw(letter)) writer.letter(Kind.cancel, id, '');
}
