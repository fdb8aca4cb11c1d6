/** The public face of peerwork, and nothing else. */
export { type ErrorCode, errorTable, PeerworkError } from './errors.js';
export type { CrawlJob, CrawlOutput } from './job/crawl.js';
export type { Job, JobError, JobInput, Json, Outcome, Progress, SettledJob } from './job/job.js';
export type { RunContext, Runner } from './job/runner.js';
export type { Lease, Source } from './job/source.js';
export type { AddedJob } from './ledger/ledger.js';
export type * from './ledger/records.js';
export type { Log, LogLevel } from './log.js';
export type { MapOptions, MappedOutcome } from './master/map.js';
export { Master } from './master/master.js';
export type { ConnectedWorker, MasterEvents, MasterOptions, QueueXecResult } from './master/options.js';
export type { Result } from './master/results.js';
export type { RunnerContext, RunnerSetup } from './runners/setup.js';
export type { SourceContext, SourceSetup } from './sources/setup.js';
export { parseToken } from './swarm/token.js';
export { version } from './version.js';
export type { WorkerEvents, WorkerOptions, WorkerStatus } from './worker/options.js';
export { Worker } from './worker/worker.js';
