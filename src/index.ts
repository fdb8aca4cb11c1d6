/** The public API of peerwork, and nothing else. */

export type { Clock, Timer } from './clock.js';
export type { EngineKind } from './containers/engine-facts.js';
export type { PullPolicy } from './containers/images.js';
export type { ContainerOptions } from './containers/owner-options.js';
export type { OwnerNetwork } from './egress/policy.js';
export { type ErrorCode, errorTable, PeerworkError } from './errors.js';
export type { ChildBounds } from './job/child-bounds.js';
export type { CrawlJob, CrawlOutput } from './job/crawl.js';
export type {
  ChildInput,
  Continuation,
  Hold,
  Job,
  JobError,
  JobInput,
  Json,
  Outcome,
  ParentFailure,
  ParentOutput,
  Progress,
  SettledJob,
} from './job/job.js';
export type { IsolationTier, RunContext, Runner, Workplace } from './job/runner.js';
export type { Exchange, Lease, SignedManifest, Source, TaskOrigin, Tunnel } from './job/source.js';
export type { LeaseKey, SettleAnswer, Settlement } from './job/verbs.js';
export type { ErrorPart } from './kit/error-parts.js';
export type {
  AddedJob,
  CancelledJob,
  ChildPolicy,
  Claim,
  HistoryInput,
  JobChange,
  LeasedJob,
  LeasedParent,
  Ledger,
  LedgerChange,
  MaintenanceResult,
  WorkerMarks,
} from './ledger/ledger.js';
export type * from './ledger/records.js';
export type { Log, LogFields, LogLevel } from './log.js';
export type { ConnectedWorker, WorkerGreeting } from './master/connected-worker.js';
export type { FastifyHost, RequestListener } from './master/http/embed.js';
export type { ExtendOptions, JobService, JobServiceEvent, LeaseRequest, RunReport } from './master/job-service.js';
export type { MapOptions, MappedOutcome } from './master/map.js';
export { Master } from './master/master.js';
export type { Published, TaskSource } from './master/open-tasks.js';
export type {
  EmbedOptions,
  HttpOptions,
  HttpScope,
  MasterEvents,
  MasterOptions,
  PushResult,
} from './master/options.js';
export type { PushOptions } from './master/pushed-job.js';
export type { Result, Results } from './master/results.js';
export type { RoutesContext, ServerRoutes, ServerSetup, WorkersContext, WorkersServer } from './master/server-setup.js';
export type { RatedKind, WorkerRates } from './master/worker-rates.js';
export { type ContainerRunnerOptions, containerRunner } from './runners/container/container-runner.js';
export { type CrawlSetupOptions, crawlRunner } from './runners/crawl/setup.js';
export type { RunnerContext, RunnerSetup } from './runners/setup.js';
export { HeldLease, type HeldRun } from './sources/held-lease.js';
export { LeasedSource } from './sources/leased-source.js';
export type { Outbox } from './sources/outbox.js';
export { OutcomeSender, type OutcomeSenderOptions, type SendAnswer } from './sources/outcome-sender.js';
export type { LocalTask, SourceContext, SourceSetup } from './sources/setup.js';
export type { PeerFacts, Role } from './swarm/peer.js';
export { parseToken, type Token } from './swarm/token.js';
export type { ExecAsset, ExecAssets } from './task/exec-assets.js';
export type { NpmOptions } from './task/npm.js';
export type { NpmRoomOptions } from './task/npm-room.js';
export type { Synced } from './task/workplace.js';
export { version } from './version.js';
export * from './wires/crew/index.js';
export * from './wires/dory/index.js';
export * from './wires/openfn/index.js';
export * from './wires/queue-xec/index.js';
export { Worker, type WorkerOptions } from './wires/queue-xec/worker.js';
export * from './wires/worqr/index.js';
export type { WorkerEvents, WorkerStatus } from './worker/options.js';
