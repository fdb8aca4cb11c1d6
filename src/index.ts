/** The public face of peerwork, and nothing else. */

export type { Clock, Timer } from './clock.js';
export type { EngineKind } from './containers/find-engine.js';
export type { PullPolicy } from './containers/images.js';
export type { ContainerOptions } from './containers/owner-options.js';
export type { OwnerNetwork } from './egress/policy.js';
export { type ErrorCode, errorTable, PeerworkError } from './errors.js';
export type { ChildBounds } from './job/child-bounds.js';
export type { CrawlJob, CrawlOutput } from './job/crawl.js';
export type { Exchange } from './job/exchange.js';
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
export type { Lease, SignedManifest, Source, TaskOrigin } from './job/source.js';
export type { Tunnel } from './job/tunnel.js';
export type { LeaseKey, SettleAnswer, Settlement } from './job/verbs.js';
export type { ErrorPart } from './kit/error-parts.js';
export type {
  AddedJob,
  CancelledJob,
  ChildPolicy,
  Claim,
  GroupLedger,
  HistoryInput,
  JobChange,
  JobLedger,
  LeasedJob,
  LeasedParent,
  Ledger,
  LedgerChange,
  ScheduleLedger,
  Tended,
  WorkerLedger,
  WorkerMarks,
  WorkgroupLedger,
} from './ledger/ledger.js';
export type * from './ledger/records.js';
export type { Log, LogFields, LogLevel } from './log.js';
export type { CrewOptions } from './master/crew/context.js';
export type { Desk, DeskEvent, LeaseRequest, RunReport } from './master/desk.js';
export type { RequestListener } from './master/http/embed.js';
export type { MapOptions, MappedOutcome } from './master/map.js';
export { Master } from './master/master.js';
export type { Published, TaskSource } from './master/open-tasks.js';
export type {
  ConnectedWorker,
  EmbedOptions,
  HttpOptions,
  HttpScope,
  MasterEvents,
  MasterOptions,
  QueueXecResult,
} from './master/options.js';
export type { LegacyQueueXecOptions } from './master/queue-xec/legacy-room.js';
export type { Result, Results } from './master/results.js';
export type { RatedKind, WorkerRates } from './master/worker-rates.js';
export type { WorkerGreeting } from './master/worker-session.js';
export { type ContainerRunnerOptions, containerRunner } from './runners/container/container-runner.js';
export { type CrawlSetupOptions, crawlRunner } from './runners/crawl/setup.js';
export { type OpenfnRunnerOptions, openfnRunner } from './runners/openfn/openfn-runner.js';
export type { RunnerContext, RunnerSetup } from './runners/setup.js';
export type { CrewPlace } from './sources/crew/client.js';
export { type CrewSourceOptions, crewSource } from './sources/crew/crew-source.js';
export type { CrewEndpointOptions } from './sources/crew/endpoint.js';
export { type DorySourceOptions, dorySource } from './sources/dory/setup.js';
export type { OperationalSettings } from './sources/dory/shapes.js';
export type { DoryTiming } from './sources/dory/timing.js';
export { type OpenfnSourceOptions, openfnSource } from './sources/openfn/openfn-source.js';
export type { Outbox } from './sources/outbox.js';
export { type QueueXecSourceOptions, queueXecSource } from './sources/queue-xec/setup.js';
export type { LocalTask, SourceContext, SourceSetup } from './sources/setup.js';
export type { WorqrPlace } from './sources/worqr/connection.js';
export type { WorqrData } from './sources/worqr/lease.js';
export { type WorqrDone, WorqrProducer, type WorqrProducerOptions, type WorqrTask } from './sources/worqr/producer.js';
export { type WorqrSourceOptions, worqrSource } from './sources/worqr/worqr-source.js';
export type { PeerFacts, Role } from './swarm/peer.js';
export { parseToken, type Token } from './swarm/token.js';
export type { ExecAsset, ExecAssets } from './task/exec-assets.js';
export type { NpmOptions } from './task/npm.js';
export type { NpmRoomOptions } from './task/npm-room.js';
export type { Synced } from './task/workplace.js';
export { version } from './version.js';
export type { DhtOptions } from './wires/queue-xec/dht.js';
export type { LsdOptions } from './wires/queue-xec/lsd.js';
export type { Meeting, PeerAt } from './wires/queue-xec/room.js';
export type { WorkerEvents, WorkerOptions, WorkerStatus } from './worker/options.js';
export { Worker } from './worker/worker.js';
