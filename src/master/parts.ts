import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { Clock } from '../clock.js';
import { DEFAULT_APPROVAL, DEFAULT_LEASE_MS, DEFAULT_LEDGER, DEFAULT_MASTER_NAME, DEFAULT_WATCH } from '../config/defaults.js';
import { PeerworkError } from '../errors.js';
import { DEFAULT_BEAT_MS } from '../job/limits.js';
import { makeFolder } from '../kit/make-folder.js';
import type { WithoutNull } from '../kit/omit.js';
import type { Ledger } from '../ledger/ledger.js';
import { openLedger } from '../ledger/open.js';
import type { Log } from '../log.js';
import { identityId } from '../swarm/identity.js';
import { MasterSwarm } from '../swarm/master-swarm.js';
import type { Peer } from '../swarm/peer.js';
import { nodePlatform } from '../swarm/platform.node.js';
import { FolderStore } from '../task/folder-store.js';
import type { ConnectedWorker } from './connected-worker.js';
import { Dispatch } from './dispatch.js';
import { MasterFiles } from './files.js';
import { HistoryWriter } from './history-writer.js';
import { JobService } from './job-service.js';
import { Maintenance } from './maintenance.js';
import { fileOf, type MasterKey } from './master-key.js';
import { namedAssets, openTasks, type Published } from './open-tasks.js';
import type { MasterOptions } from './options.js';
import { Permits } from './permits.js';
import { Renewal } from './renewal.js';
import { Results } from './results.js';
import { Roster } from './roster.js';
import type { WorkersServer } from './server-setup.js';
import type { Tasks } from './tasks.js';
import { readTunnels, Tunnels } from './tunnels.js';
import { Uploads } from './uploads.js';

/** Everything that exists once the Master is ready. */
export interface Parts {
  readonly ledger: Ledger;
  readonly tasks: Tasks;
  readonly dispatch: Dispatch;
  readonly results: Results;
  readonly history: HistoryWriter;
  readonly maintenance: Maintenance;
  readonly roster: Roster;
  readonly tunnels: Tunnels;
  readonly uploads: Uploads;
  readonly files: MasterFiles;
  readonly renewal: Renewal;
  readonly service: JobService;
  readonly swarm: MasterSwarm;
  /** The servers for workers of foreign systems. */
  readonly foreign: readonly WorkersServer[];
}

export interface PartsHooks {
  readonly onLedger: (ledger: Ledger) => void;
  readonly onPublished: (task: Published) => void;
  readonly onWarning: (error: PeerworkError) => void;
  readonly onConnected: (worker: ConnectedWorker) => void;
  readonly onDisconnected: (worker: ConnectedWorker, error: Error) => void;
}

/**
 * Opens the ledger, publishes the tasks and assembles the Master's parts; no job is handed out before the caller starts swarm and
 * maintenance.
 */
export async function openParts(
  options: WithoutNull<MasterOptions>,
  key: MasterKey,
  shared: { clock: Clock; log: Log },
  hooks: PartsHooks,
): Promise<Parts> {
  const addresses = readTunnels(options.tunnels ?? {});
  const ledgerUrl = options.ledger ?? DEFAULT_LEDGER;
  const file = fileOf(ledgerUrl, '');
  if (file !== undefined) makeFolder(dirname(file));
  const ledger = await openLedger(ledgerUrl, {
    clock: shared.clock,
    owner: identityId(key.identity.publicKey),
    ...(options.ledgerListen !== undefined && { listenUrl: options.ledgerListen }),
    ...(options.retention !== undefined && { retention: options.retention }),
  });
  hooks.onLedger(ledger);
  const foreign: WorkersServer[] = [];
  const tasks = await openTasks({
    ...shared,
    task: options.task ?? (options.execAssets && namedAssets(options.execAssets)),
    folder: fileOf(ledgerUrl, '.tasks'),
    watch: options.watch ?? DEFAULT_WATCH,
    children: options.children,
    npm: { credentials: options.npmCredentials ?? [] },
    identity: key.identity,
    agree: (name, value) => ledger.agree(name, value),
    onPublished: (task) => {
      hooks.onPublished(task);
      for (const one of foreign) one.published();
    },
    onError: hooks.onWarning,
  });
  const leaseMs = options.leaseMs ?? DEFAULT_LEASE_MS;
  const dispatch = new Dispatch({ ...shared, ledger, leaseMs });
  const results = new Results(ledger);
  const history = new HistoryWriter(ledger, shared.clock, shared.log);
  const permits: Permits = new Permits({
    ledger,
    approval: options.approval ?? DEFAULT_APPROVAL,
    admit: options.admit,
    onChange: ({ id, drainedAt }) => {
      const refusal = permits.refusalOf(id);
      dispatch.hold(id, drainedAt !== undefined || refusal !== undefined);
      if (refusal === undefined) return;
      roster.dismiss(id, refusal);
      for (const one of foreign) one.dismiss(id);
    },
  });
  const files = new MasterFiles({ ...shared, ledger, store: openFileStore(options.files, ledgerUrl) });
  const service: JobService = new JobService({
    ...shared,
    files,
    name: options.name ?? DEFAULT_MASTER_NAME,
    ledger,
    results,
    dispatch,
    history,
    permits,
    leaseMs,
    // Three beats per lease, so that two may get lost.
    beatMs: Math.min(DEFAULT_BEAT_MS, Math.ceil(leaseMs / 3)),
    taskChannels: () => tasks.channels,
    childBounds: (channel) => tasks.childBounds(channel),
    workers: () => [...roster.list(), ...foreign.flatMap((one) => one.list())],
    notifyCancelled: (workerId, lease) => {
      roster.cancel(workerId, lease);
      for (const one of foreign) one.cancel(workerId, lease);
    },
    onDue: (at) => maintenance.wakeBy(at),
  });
  const maintenance = new Maintenance({ ...shared, ledger, graceMs: leaseMs, onChange: () => service.wake() });
  const tunnels = new Tunnels({ ...shared, ledger, tasks, addresses });
  const uploads = new Uploads(shared.clock);
  const roster = new Roster({ service, dispatch, tasks, tunnels, files, uploads, onChange: () => service.wake() });
  const renewal = new Renewal({ clock: shared.clock, leaseMs, renew: () => roster.renew() });
  await permits.load();
  const swarm = joinSwarm(options, key, shared, roster, permits);
  const announce = (event: 'connected' | 'disconnected', worker: ConnectedWorker) => service.announce(event, worker);
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
  swarm.on('warning', hooks.onWarning);
  for (const { workers } of options.serve ?? []) {
    const one = workers?.({ service, tasks, onWarning: hooks.onWarning, onConnected, onDisconnected });
    if (one !== undefined) foreign.push(one);
  }
  return { ledger, tasks, dispatch, results, history, maintenance, roster, tunnels, uploads, files, renewal, service, swarm, foreign };
}

/** Throws `option-invalid`. A ledger in memory has its files in a temporary folder. */
function openFileStore(place: string | undefined, ledger: string): FolderStore {
  const folder = place?.startsWith('folder:') ? place.slice('folder:'.length) : fileOf(ledger, '.files');
  if (place !== undefined && !/^folder:./.test(place)) throw new PeerworkError('option-invalid', `files: ${place} is not folder:PATH`);
  if (folder !== undefined) return new FolderStore(resolve(folder));
  return new FolderStore(mkdtempSync(join(tmpdir(), 'peerwork-files-')), { temporary: true });
}

function joinSwarm(
  options: WithoutNull<MasterOptions>,
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
    name: name ?? DEFAULT_MASTER_NAME,
    platform: nodePlatform(),
    ...(transferEncryptToken === undefined ? {} : { transferSecret: transferEncryptToken }),
    ...(trackers === undefined ? {} : { trackers }),
    ...(ice === undefined ? {} : { ice }),
    admit: (id, workerName) => permits.admit(id, workerName, shared.clock.now()),
    accept: (facts) => roster.accept(facts),
  });
}

/** Closes the parts in reverse order of their dependencies; running jobs continue. */
export async function closeParts(parts: Parts): Promise<void> {
  parts.dispatch.close();
  await Promise.all(parts.foreign.map((one) => one.close()));
  await parts.swarm.close();
  parts.tunnels.close();
  parts.renewal.close();
  parts.uploads.close();
  await parts.maintenance.close();
  await parts.files.close();
  await parts.history.flush();
  await parts.results.close();
  parts.service.close();
  await parts.tasks.close();
}
