/** Opens and closes a hundred links, prints what is left, and has to end by itself. */
import { readdirSync } from 'node:fs';
import { openConnections } from '../../../src/swarm/link/webrtc.node.js';
import { closed, linkPair } from './pair.js';

const openFiles = () => (process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0);
let opened = 0;
let filesAtStart = 0;
for (let round = 0; round < 100; round++) {
  const [a, b] = await linkPair();
  opened++;
  const ends = Promise.all([closed(a), closed(b)]);
  b.onMessage(() => b.close());
  a.send(new Uint8Array(10_000));
  await ends;
  if (round === 5) filesAtStart = openFiles();
}
process.stdout.write(JSON.stringify({ opened, left: openConnections(), moreFiles: openFiles() - filesAtStart }));
