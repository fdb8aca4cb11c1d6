import { availableParallelism, hostname } from 'node:os';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { systemClock } from '../clock.js';
import { DEFAULT_HOME } from '../config/defaults.js';
import { PeerworkError } from '../errors.js';
import { omitUndefined } from '../kit/omit.js';
import { parseToken } from '../swarm/token.js';
import type { Wire } from '../wires/wire.js';
import type { Worker } from '../worker/worker.js';
import { formatBytes, formatDuration, formatRate, Meter } from './figures.js';
import type { Options } from './option-table.js';
import { readOptions } from './options.js';
import { stopAsking } from './packages.js';
import { runnerCommands } from './runners.js';
import { openScreen, REDRAW_MS, type Screen } from './screen.js';
import { catchSignals, exitOfSignal } from './stop.js';
import { wires } from './wires.js';
import { WorkerStatusFile } from './worker-status.js';

/** Works until it is stopped. stdout gets one line per event, or on a terminal a live status. */
export async function worker(command: Command): Promise<number> {
  const options = await readOptions(command, 'worker');
  const { token } = options;
  const sources = wires.filter((source) => source.configured(options));
  if (token !== undefined) parseToken(token);
  else if (sources.length === 0) throw new PeerworkError('token-missing');
  const extras = {
    sources: await Promise.all(sources.map((source) => source.setup(options))),
    runners: await Promise.all(runnerCommands.filter((runner) => runner.wanted(options)).map((runner) => runner.setup(options))),
  };
  // Loaded on demand: a refusal should not wait for a WebRTC engine.
  const { Worker } = await import('../worker/worker.js');
  stopAsking();
  const screen = await openScreen(process.stdout, options.logLevel);
  const signals = catchSignals();
  const working = new Worker({
    ...workerOptions(options),
    ...concurrencyOf(options, sources),
    ...omitUndefined({ token }),
    ...extras,
    log: screen.log,
  });
  const statusFile = new WorkerStatusFile(resolve(options.home ?? DEFAULT_HOME), working);
  const results = new Meter(() => systemClock.now());
  describeEvents(working, screen, results);
  const failed = new Promise<never>((_resolve, reject) => {
    working.on('error', reject);
    working.ready.catch(reject);
  });
  const redraw = screen.live ? setInterval(() => screen.show(describeStatus(working, results)), REDRAW_MS) : undefined;

  try {
    const signal = await Promise.race([signals.first, failed]);
    screen.say(`Stopping: ${describeRest(working.status().running)}. Again to stop at once.`);
    const stopped = await Promise.race([working.drain().then(() => undefined), signals.second, failed]);
    if (stopped === undefined) {
      screen.say(`Stopped (${signal}).`);
      return 0;
    }
    screen.say('Stopping at once: what runs is given back.');
    await working.close();
    return exitOfSignal(stopped);
  } finally {
    clearInterval(redraw);
    endScreen(screen, working, results);
    await working.close();
    await statusFile.close();
    signals.release();
  }
}

function describeRest(running: number): string {
  if (running === 0) return 'no job runs, what is left is delivered';
  return `${running === 1 ? 'the job that runs' : `the ${running} jobs that run`} may end first`;
}

function endScreen(screen: Screen, working: Worker, results: Meter): void {
  screen.show(describeStatus(working, results));
  screen.end();
}

function workerOptions(options: Options) {
  const { transferEncryptToken, name, concurrency, memoryMb, allowInstallScripts, home, sandbox, bubblewrap, taskNetwork } = options;
  const { npmCredentials, storeQuotaMb, fileQuotaMb, drainMs, labels, trackers, ice, logLevel } = options;
  return {
    name: name ?? hostname(),
    loglevel: logLevel,
    allowInstallScripts,
    sandbox,
    ...omitUndefined({
      taskNetwork,
      transferEncryptToken,
      concurrency,
      memoryMb,
      npmCredentials,
      home,
      bubblewrap,
      storeQuotaMb,
      fileQuotaMb,
      drainMs,
      labels,
      trackers,
      ice,
    }),
  };
}

/** A Worker that serves a single source runs as many jobs at once as that source may fill. */
function concurrencyOf(options: Options, [first, ...others]: readonly Wire[]): { concurrency?: number } {
  const { token, concurrency } = options;
  if (concurrency !== undefined || token !== undefined || first?.places === undefined || others.length > 0) return {};
  return { concurrency: Math.max(availableParallelism(), first.places(options)) };
}

/** Logs what the Worker does not log by itself. */
function describeEvents(working: Worker, { live, log }: Screen, results: Meter): void {
  // On a terminal the status counts the jobs; one line for each would scroll everything else away.
  const each = live ? log.debug : log.info;
  const { concurrency, sources } = working.status();
  log.info('worker starts', { name: working.name, concurrency, sources: sources.join(' ') });
  // With a single source, lines need not name it.
  const from = (source: string) => (sources.length > 1 ? source : undefined);
  working.on('job', ({ id, channel, attempt, source }) => each('job', { id, channel, attempt, source: from(source) }));
  working.on('result', ({ id, state, ms, code, source }) => {
    results.add();
    each('result', { id, state, ms: Math.round(ms), code, source: from(source) });
  });
}

function describeStatus(working: Worker, results: Meter): string {
  const { name, master, sources, running, concurrency, completed, failed, released, outbox, isolation, traffic } = working.status();
  const roundTrip = master?.roundTripMs === undefined ? '' : `, ${formatDuration(master.roundTripMs)}`;
  const masterLine = master === undefined ? 'looking for the Master …' : `Master ${master.name} (${master.path}${roundTrip})`;
  const peers = sources.map((source) => (source === 'master' ? masterLine : source)).join(', ');
  const unsent = outbox === 0 ? '' : `, ${outbox} not delivered yet`;
  return [
    `peerwork worker ${name}`,
    `  peers      ${peers}`,
    `  jobs       ${running} of ${concurrency} running, ${completed} completed, ${failed} failed, ${released} given back${unsent}`,
    `  rate       ${formatRate(results.perSecond)} jobs/s, sent ${formatBytes(traffic.sent)}, received ${formatBytes(traffic.received)}`,
    `  isolation  ${isolation || '…'}`,
  ].join('\n');
}
