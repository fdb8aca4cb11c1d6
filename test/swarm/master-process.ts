/** A Master in a process of its own, to be killed: takes its token and its key (hex) as arguments and reports when it is ready. */
import { nodePrimitives } from '../../src/swarm/crypto.node.js';
import { keyPairFromSeed } from '../../src/swarm/identity.js';
import { MasterSwarm } from '../../src/swarm/master-swarm.js';
import { nodePlatform } from '../../src/swarm/platform.node.js';

const [token = '', seed = ''] = process.argv.slice(2);
const identity = keyPairFromSeed(nodePrimitives, new Uint8Array(Buffer.from(seed, 'hex')));
const swarm = new MasterSwarm({ token, identity, name: 'to be killed', platform: nodePlatform(), accept: () => ({}), ice: [] });
swarm.start();
await swarm.ready;
process.send?.('ready');
// The parent is gone and cannot kill it.
process.once('disconnect', () => process.exit());
