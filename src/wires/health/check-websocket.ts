import WebSocket from 'ws';
import type { Check } from '../../job/health.js';
import { redact } from '../../log.js';

export interface WebSocketQuestion {
  /** What is shown of the URL: without what is secret in it. */
  readonly shown: string;
  /** Names where the owner wrote the URL. */
  readonly variable: string;
  readonly signal: AbortSignal;
  /** What to do about 401 and 403. */
  readonly login: string;
}

/** Opens a WebSocket and closes it again. */
export function checkWebSocket(name: string, url: string, { shown, variable, signal, login }: WebSocketQuestion): Promise<Check> {
  const startedAt = performance.now();
  return new Promise((resolve) => {
    const socket = new WebSocket(url);
    const end = (check: Omit<Check, 'name'>) => {
      signal.removeEventListener('abort', late);
      // Closing one that is not open yet is told as an error.
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
