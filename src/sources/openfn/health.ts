import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { listenError } from '../../kit/system-error.js';

/** Longer than a server takes to answer a claim that finds nothing. */
const CLAIM_MS = 5_000;

/**
 * The routes of OpenFn's own worker: `GET /` and `/livez` say that the process lives, whether or not Lightning can be reached; `POST /claim`
 * asks for work at once and says 200 if some came, 204 if not. Rejects with `openfn-invalid` if the port cannot be had.
 */
export async function serveHealth(
  port: number,
  host: string | undefined,
  claimNow: (withinMs: number) => Promise<boolean>,
): Promise<Server> {
  const server = createServer(async (request, response) => {
    const path = (request.url ?? '').split('?')[0];
    request.resume();
    if (request.method === 'GET' && (path === '/' || path === '/livez')) response.writeHead(200).end('OK');
    else if (request.method === 'POST' && path === '/claim') {
      if (await claimNow(CLAIM_MS)) response.writeHead(200).end('complete');
      else response.writeHead(204).end();
    } else response.writeHead(404).end();
  });
  server.requestTimeout = 10_000;
  server.listen(port, host);
  try {
    await once(server, 'listening');
  } catch (thrown) {
    throw listenError(thrown, 'openfn-invalid', `port ${port}`);
  }
  return server;
}
