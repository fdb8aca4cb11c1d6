import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock } from '../clock.js';
import type { PeerworkError } from '../errors.js';
import { DEFAULT_BEAT_MS, DEFAULT_LEASE_MS } from '../job/limits.js';
import type { Ledger } from '../ledger/ledger.js';
import { openLedger } from '../ledger/open.js';
import type { Log } from '../log.js';
import { identityId } from '../swarm/identity.js';
import { MasterSwarm } from '../swarm/master-swarm.js';
import type { Peer } from '../swarm/peer.js';
import { nodePlatform } from '../swarm/platform.node.js';
import { Dispatch } from './dispatch.js';
import { JobDesk } from './job-desk.js';
import { Journal } from './journal.js';
import { fileOf, type MasterKey } from './master-key.js';
import { openTasks, type Published } from './open-tasks.js';
import { type ConnectedWorker, DEFAULT_LEDGER, type MasterOptions } from './options.js';
import { Permits } from './permits.js';
import { LegacyRoom } from './queue-xec/legacy-room.js';
import { Renewal } from './renewal.js';
import { Results } from './results.js';
import { Roster } from './roster.js';
import { Sweeper } from './sweeper.js';
import type { Tasks } from './tasks.js';
import { readTunnels, Tunnels } from './tunnels.js';
import { Uploads } from './uploads.js';

/** Everything that stands once the Master is ready. */
export interface Parts {
  readonly ledger: Ledger;
  readonly tasks: Tasks;
  readonly dispatch: Dispatch;
  readonly results: Results;
  readonly journal: Journal;
  readonly sweeper: Sweeper;
  readonly roster: Roster;
  readonly tunnels: Tunnels;
  readonly uploads: Uploads;
  readonly renewal: Renewal;
  readonly desk: JobDesk;
  readonly swarm: MasterSwarm;
  /** Absent unless queue-xec Workers are served. */
  readonly legacy: LegacyRoom | undefined;
}

export interface PartsHooks {
  readonly onLedger: (ledger: Ledger) => void;
  readonly onPublished: (task: Published) => void;
  readonly onTrouble: (error: PeerworkError) => void;
  readonly onConnected: (worker: ConnectedWorker) => void;
  readonly onDisconnected: (worker: ConnectedWorker, error: Error) => void;
}

/** Opens the ledger, publishes the tasks and puts the Master's parts together; nothing is handed out before the caller starts swarm and sweeper. */
export async function openParts(
  options: MasterOptions,
  key: MasterKey,
  shared: { clock: Clock; log: Log },
  hooks: PartsHooks,
): Promise<Parts> {
  const addresses = readTunnels(options.tunnels ?? {});
  const ledgerUrl = options.ledger ?? DEFAULT_LEDGER;
  const file = fileOf(ledgerUrl, '');
  if (file !== undefined) await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const ledger = await openLedger(ledgerUrl, {
    clock: shared.clock,
    owner: identityId(key.identity.publicKey),
    ...(options.ledgerListen !== undefined && { listenUrl: options.ledgerListen }),
    ...(options.retention !== undefined && { retention: options.retention }),
  });
  hooks.onLedger(ledger);
  let legacy: LegacyRoom | undefined;
  const tasks = await openTasks({
    ...shared,
    task: options.task ?? options.execAssets,
    folder: fileOf(ledgerUrl, '.tasks'),
    watch: options.watch ?? true,
    children: options.children,
    npm: { credentials: options.npmCredentials ?? [] },
    identity: key.identity,
    agree: (name, value) => ledger.agree(name, value),
    onPublished: (task) => {
      hooks.onPublished(task);
      legacy?.published();
    },
    onError: hooks.onTrouble,
  });
  const leaseMs = options.leaseMs ?? DEFAULT_LEASE_MS;
  const dispatch = new Dispatch({ ...shared, ledger, leaseMs });
  const results = new Results(ledger);
  const journal = new Journal(ledger, shared.clock, shared.log);
  const permits: Permits = new Permits({
    ledger,
    approval: options.approval ?? 'auto',
    admit: options.admit,
    onChange: ({ id, drainedAt }) => {
      const refusal = permits.refusalOf(id);
      dispatch.hold(id, drainedAt !== undefined || refusal !== undefined);
      if (refusal === undefined) return;
      roster.dismiss(id, refusal);
      legacy?.dismiss(id);
    },
  });
  const desk: JobDesk = new JobDesk({
    ...shared,
    name: options.name ?? 'master',
    ledger,
    results,
    dispatch,
    journal,
    permits,
    leaseMs,
    // Three beats within a lease, so that two may get lost.
    beatMs: Math.min(DEFAULT_BEAT_MS, Math.ceil(leaseMs / 3)),
    taskChannels: () => tasks.channels,
    childBounds: (channel) => tasks.childBounds(channel),
    workers: () => [...roster.list(), ...(legacy?.list() ?? [])],
    tell: (workerId, lease) => {
      roster.cancel(workerId, lease);
      legacy?.cancel(workerId, lease);
    },
    due: (at) => sweeper.hint(at),
  });
  const sweeper = new Sweeper({ ...shared, ledger, graceMs: leaseMs, onSweep: () => desk.wake() });
  const tunnels = new Tunnels({ ...shared, ledger, tasks, addresses });
  const uploads = new Uploads(shared.clock);
  const roster = new Roster({ desk, dispatch, tasks, tunnels, uploads, onChange: () => desk.wake() });
  const renewal = new Renewal({ clock: shared.clock, leaseMs, renew: () => roster.renew() });
  await permits.load();
  const swarm = joinSwarm(options, key, shared, roster, permits);
  const announce = (event: 'connected' | 'disconnected', worker: ConnectedWorker) => desk.announce(event, worker);
  const onConnected = (worker: ConnectedWorker) => {
    hooks.onConnected(worker);
    announce('connected', worker);
  };
  const onDisconnected = (worker: ConnectedWorker, error: Error) => {
    hooks.onDisconnected(worker, error);
    announce('disconnected', worker);
  };
  swarm.on('connected', (peer: Peer) => onConnected(roster.join(peer)));
  swarm.on('disconnected', (peer: Peer, error: Error) => {
    const worker = roster.leave(peer);
    if (worker !== undefined) onDisconnected(worker, error);
  });
  swarm.on('trouble', hooks.onTrouble);
  if (options.legacyQueueXec !== undefined)
    legacy = new LegacyRoom(options.legacyQueueXec, desk, tasks, { onTrouble: hooks.onTrouble, onConnected, onDisconnected });
  return { ledger, tasks, dispatch, results, journal, sweeper, roster, tunnels, uploads, renewal, desk, swarm, legacy };
}

function joinSwarm(
  options: MasterOptions,
  key: MasterKey,
  shared: { clock: Clock; log: Log },
  roster: Roster,
  permits: Permits,
): MasterSwarm {
  const { name, transferEncryptToken, trackers, ice } = options;
  return new MasterSwarm({
    ...shared,
    token: key.parsed,
    identity: key.identity,
    name: name ?? 'master',
    platform: nodePlatform(),
    ...(transferEncryptToken === undefined ? {} : { transferSecret: transferEncryptToken }),
    ...(trackers === undefined ? {} : { trackers }),
    ...(ice === undefined ? {} : { ice }),
    admit: (id, workerName) => permits.admit(id, workerName, shared.clock.now()),
    accept: (facts) => roster.accept(facts),
  });
}

/** Ends them in the order in which they stand on each other; what runs goes on. */
export async function closeParts(parts: Parts): Promise<void> {
  parts.dispatch.close();
  await parts.legacy?.close();
  await parts.swarm.close();
  parts.tunnels.close();
  parts.renewal.close();
  parts.uploads.close();
  await parts.sweeper.close();
  await parts.journal.flush();
  await parts.results.close();
  parts.desk.close();
  await parts.tasks.close();
}
