import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openConnection } from '../../src/crawl/network.js';

const never = new AbortController().signal;

/** A proxy on a unix socket that opens its stream, sends a part and then calls `then`. */
async function proxy(t: Test, then: (socket: Socket) => void): Promise<string> {
  // A socket path is limited to 107 bytes.
  const folder = mkdtempSync(join(tmpdir(), 'peerwork-test-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'proxy.sock');
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\n\r\nhalf a body', () => then(socket)));
    socket.on('end', () => socket.end());
  }).listen(path);
  await once(server, 'listening');
  t.teardown(() => server.close());
  return path;
}

async function readThrough(path: string): Promise<string> {
  const socket = await openConnection({ host: 'site.example', port: 80, secure: false }, path, never);
  let text = '';
  socket.on('data', (chunk) => {
    text += String(chunk);
  });
  await once(socket, 'end');
  return text;
}

t.test('a stream that the proxy ends is complete; one that it drops is not', async (t) => {
  t.equal(await readThrough(await proxy(t, (socket) => socket.end())), 'half a body');
  await t.rejects(readThrough(await proxy(t, (socket) => socket.destroy())), { code: 'EPIPE' });
});
