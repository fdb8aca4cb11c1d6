/**
 * queue-xec's two packages on peerwork. `peerwork/queue-xec/master` and `peerwork/queue-xec/worker` replace `queue-xec-master` and
 * `queue-xec-worker`; this module is both of them: its default export, which is also the result of `require`, is the Master, with the other
 * classes as properties.
 */
import { Crypt } from './crypt.js';
import { Helper } from './helper.js';
import { Logger } from './logger.js';
import { Master } from './master.js';
import { Worker } from './worker.js';

const queueXec = Object.assign(Master, { Master, Worker, Logger, Helper, Crypt });

export type { LoggerOptions } from './logger.js';
export type { MasterOptions } from './master.js';
export type { WireAsset } from './wire-asset.js';
export type { WorkerOptions } from './worker.js';
export { Crypt, Helper, Logger, Master, queueXec as 'module.exports', Worker };
export default queueXec;
