import { connect } from 'node:net';
import type { Check } from '../../job/health.js';

/** Checks that a server accepts TCP connections there. `variable` is the name of the variable in which the owner configured the address. */
export function checkTcp(name: string, address: string, { variable, signal }: { variable: string; signal: AbortSignal }): Promise<Check> {
  const at = address.lastIndexOf(':');
  const host = address.slice(0, at).replace(/^\[|\]$/g, '');
  const startedAt = performance.now();
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(address.slice(at + 1)), signal });
    const end = (check: Omit<Check, 'name'>) => {
      socket.destroy();
      resolve({ name, ...check });
    };
    socket.once('connect', () => end({ state: 'ok', detail: `${address} responded in ${Math.round(performance.now() - startedAt)} ms` }));
    socket.once('error', ({ message }) =>
      end({
        state: 'fail',
        detail: `${address}: ${signal.aborted ? 'no response in time' : message}`,
        hint: `Start the server, or fix ${variable}.`,
      }),
    );
  });
}
