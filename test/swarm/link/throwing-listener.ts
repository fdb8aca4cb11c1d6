/** A listener that throws inside a callback of the native library. */
import { linkPair } from './pair.js';

const [a, b] = await linkPair();
process.on('uncaughtException', (error) => {
  process.stdout.write(`caught: ${error.message}`);
  a.close();
});
b.onMessage(() => {
  throw new Error('thrown by a listener');
});
a.send(new Uint8Array(1));
