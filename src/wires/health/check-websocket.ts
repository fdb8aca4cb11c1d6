import WebSocket from 'ws';
import type { Check } from '../../job/health.js';
import { redact } from '../../log.js';

export interface WebSocketCheckOptions {
  /** URL as displayed, without its secrets. */
  readonly shown: string;
  /** Name of the variable in which the owner configured the URL. */
  readonly variable: string;
  readonly signal: AbortSignal;
  /** Hint for 401 and 403. */
  readonly login: string;
}

/** Checks that a WebSocket can be opened, and closes it again. */
export function checkWebSocket(name: string, url: string, { shown, variable, signal, login }: WebSocketCheckOptions): Promise<Check> {
  const startedAt = performance.now();
  return new Promise((resolve) => {
    const socket = new WebSocket(url);
    const end = (check: Omit<Check, 'name'>) => {
      signal.removeEventListener('abort', late);
      // Terminating a socket that is still connecting emits an error.
      socket.on('error', () => {});
      socket.terminate();
      resolve({ name, ...check });
    };
    const fail = (why: string, hint: string) => end({ state: 'fail', detail: `${shown}: ${redact(why)}`, hint });
    const late = () => fail('no response in time', `Start the server, or fix ${variable}.`);
    signal.addEventListener('abort', late);
    socket.once('open', () => end({ state: 'ok', detail: `${shown} responded in ${Math.round(performance.now() - startedAt)} ms` }));
    socket.once('unexpected-response', (_request, { statusCode = 0 }) =>
      fail(`it responded ${statusCode}`, statusCode === 401 || statusCode === 403 ? login : `Check ${variable}.`),
    );
    socket.once('error', ({ message }) => fail(message, `Start the server, or fix ${variable}.`));
    if (signal.aborted) late();
  });
}
