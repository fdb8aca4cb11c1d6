/** The public face of peerwork, and nothing else. */
export { type ErrorCode, errorTable, PeerworkError } from './errors.js';
export type { Job, JobError, JobInput, Json, Progress, SettledJob } from './job/job.js';
export type { AddedJob } from './ledger/ledger.js';
export type * from './ledger/records.js';
export type { Log, LogLevel } from './log.js';
export type { MapOptions, MappedOutcome } from './master/map.js';
export { Master } from './master/master.js';
export type { ConnectedWorker, MasterEvents, MasterOptions, QueueXecResult } from './master/options.js';
export type { Result } from './master/results.js';
export { parseToken } from './swarm/token.js';
export { version } from './version.js';
export type { WorkerEvents, WorkerOptions, WorkerStatus } from './worker/options.js';
export { Worker } from './worker/worker.js';
