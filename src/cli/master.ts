import { hostname } from 'node:os';
import type { Command } from 'commander';
import { tunnelAddress } from '../config/tunnel.js';
import { PeerworkError } from '../errors.js';
import { DEFAULT_CHANNEL } from '../job/job.js';
import { omitUndefined } from '../kit/omit.js';
import { requirePackages } from '../kit/optional-package.js';
import type { PackageSetName } from '../kit/package-sets.js';
import { packageOfLedger } from '../ledger/package-of-ledger.js';
import type { Log } from '../log.js';
import { Master } from '../master/master.js';
import type { HttpOptions } from '../master/options.js';
import type { ServerSetup } from '../master/server-setup.js';
import { formatDuration, formatRate } from './figures.js';
import { checkJobFile } from './job-lines.js';
import { MasterRun } from './master-run.js';
import type { Options } from './option-table.js';
import { readOptions } from './options.js';
import { OutcomeFile } from './outcome-file.js';
import { stopAsking } from './packages.js';
import { openScreen, REDRAW_MS, REPORT_MS, type Screen } from './screen.js';
import { catchSignals, exitOfSignal, type StopSignals } from './stop.js';
import { wires } from './wires.js';

/**
 * Publishes the tasks, prints the token on stdout, adds the jobs of `--input` and writes their outcomes to `--output`. Ends when
 * all of them have ended: 0 if all completed, 1 if some did not. Without `--input` it serves until stopped.
 */
export async function master(command: Command): Promise<number> {
  const options = await readOptions(command, 'master');
  const tasks = readTasks(options);
  const channels = new Set(Object.keys(tasks));
  const { input } = options;
  if (input === undefined && options.retryFailed)
    throw new PeerworkError(
      'option-invalid',
      '--retry-failed is about the jobs of an --input; `peerwork jobs --state failed --retry` is about all',
    );
  const servers = (await Promise.all(wires.map((wire) => wire.server?.(options)))).filter((one) => one !== undefined);
  // A bad file is refused before anything starts; stdin cannot be read twice and is checked line by line.
  const expected = input === undefined || input === '-' ? undefined : await checkJobFile(input, channels);
  await requirePackages(...packagesOf(options, servers));
  stopAsking();
  const screen = await openScreen(process.stderr, options.logLevel);
  const output = options.output === undefined ? undefined : await OutcomeFile.open(options.output);
  const serving = new Master({ ...masterOptions(options), serve: servers, task: tasks, log: screen.log });
  const broken = new Promise<never>((_resolve, reject) => serving.on('error', reject));
  broken.catch(() => {});
  const signals = catchSignals();
  const { retryFailed, stay, outputDir } = options;
  const run = new MasterRun({ master: serving, channels, retryFailed, ...omitUndefined({ input, output, outputDir, expected }) });
  describeEvents(serving, screen.log);
  const tick = () => (screen.live ? screen.show(run.status()) : run.report(screen.log));
  let ticker: NodeJS.Timeout | undefined;
  try {
    // Not `ready`: jobs can be added, and the token printed, before a tracker is reached.
    await serving.counts();
    // Before the first status, which would overwrite the token on the same terminal.
    process.stdout.write(`Token: ${serving.token}\n`);
    const url = await serving.url;
    if (url !== undefined) process.stdout.write(`Dashboard: ${url}/\n`);
    ticker = setInterval(tick, screen.live ? REDRAW_MS : REPORT_MS);
    return await serve({ run, serving, broken, signals, screen }, { stay, forgets: options.ledger === 'memory:' && output === undefined });
  } finally {
    clearInterval(ticker);
    screen.end();
    await serving.close();
    await run.end();
    await output?.close();
    signals.release();
  }
}

interface Ending {
  /** Continues to serve after the input's jobs have ended. */
  readonly stay: boolean;
  /** Nothing remains for another run to continue. */
  readonly forgets: boolean;
}

interface Served {
  readonly run: MasterRun;
  readonly serving: Master;
  /** Rejects when the Master cannot continue. */
  readonly broken: Promise<never>;
  readonly signals: StopSignals;
  readonly screen: Screen;
}

async function serve({ run, serving, broken, signals, screen }: Served, { stay, forgets }: Ending): Promise<number> {
  const ended = await Promise.race([run.work(), signals.first, broken]);
  if (ended === undefined) {
    summarise(run, screen);
    if (!stay) return run.allCompleted ? 0 : 1;
    screen.say('Serving until stopped.');
  }
  const signal = ended ?? (await Promise.race([signals.first, broken]));
  screen.say('Stopping when the jobs that run now have ended. Again to stop at once: the ledger keeps them.');
  if (run.hasInput) await Promise.race([run.compare(), signals.second, broken]);
  const secondSignal = await Promise.race([serving.drain().then(() => undefined), signals.second, broken]);
  summarise(run, screen);
  if (run.open > 0) screen.say(describeOpen(run, forgets));
  if (secondSignal === undefined && !run.hasInput) return 0;
  return secondSignal === undefined && ended === undefined ? Number(!run.allCompleted) : exitOfSignal(secondSignal ?? signal);
}

function describeOpen({ open, total, readsStdin }: MasterRun, forgets: boolean): string {
  const jobs = `${open} of ${total} jobs ${open === 1 ? 'is' : 'are'} open.`;
  const command = readsStdin ? 'The same command with the same input' : 'The same command';
  if (forgets) return `${jobs} A ledger in memory forgets all of them: the same command begins again.`;
  return `${jobs} ${command} goes on with ${open === 1 ? 'it' : 'them'}.`;
}

/**
 * Parses `folder` or `channel=folder`; a folder whose name contains `=` needs a slash before it. With `--http` there may be no
 * task: workers that connect over HTTP bring their own code.
 */
function readTasks({ task, http, input }: Options): Record<string, string> {
  if (task === undefined && (http === undefined || http === 'off' || input !== undefined))
    throw new PeerworkError(
      'option-invalid',
      '`--task <folder>` is missing (or `--http <address>`, for workers that bring their own code)',
    );
  const tasks: Record<string, string> = {};
  for (const text of task ?? []) {
    const [, channel = DEFAULT_CHANNEL, folder = text] = /^([\w.:-]+)=(.+)$/.exec(text) ?? [];
    if (tasks[channel] !== undefined) throw new PeerworkError('option-invalid', `--task: two folders for the channel ${channel}`);
    tasks[channel] = folder;
  }
  return tasks;
}

function masterOptions(options: Options) {
  const {
    ledger,
    files,
    ledgerListen,
    keyFile,
    name,
    trackers,
    ice,
    transferEncryptToken,
    leaseMs,
    watch,
    retain,
    approval,
    npmCredentials,
  } = options;
  return {
    ledger,
    watch,
    approval,
    name: name ?? hostname(),
    ...omitUndefined({
      tunnels: tunnelsOf(options),
      files,
      ledgerListen,
      keyFile,
      trackers,
      ice,
      transferEncryptToken,
      leaseMs,
      npmCredentials,
      retention: retain,
      http: httpOf(options),
    }),
  };
}

/** Returns the packages to install, so that the user is asked before anything starts. */
function packagesOf(options: Options, servers: readonly ServerSetup[]): PackageSetName[] {
  const ledger = packageOfLedger(options.ledger);
  const http = httpOf(options) === undefined ? [] : ['fastify' as const, ...servers.flatMap(({ packages = [] }) => packages)];
  return [...(ledger === undefined ? [] : [ledger]), ...http];
}

function tunnelsOf({ tunnels }: Options): Record<string, string> | undefined {
  if (tunnels === undefined) return undefined;
  const addresses = tunnels.map(tunnelAddress).filter((each) => each !== undefined);
  return Object.fromEntries(addresses.map(({ name, address }) => [name, address]));
}

/** A Master that serves until it is stopped serves the dashboard for its owner too. */
function httpOf(options: Options): HttpOptions | undefined {
  const { http, httpTokens: tokens, httpOrigins: origins, input } = options;
  if (http === 'off' || (http === undefined && input !== undefined)) return undefined;
  return { fallBack: http === undefined, ...http, ...omitUndefined({ tokens, origins }) };
}

/** Logs what the Master does not log by itself. */
function describeEvents(serving: Master, log: Log): void {
  serving.on('settled', ({ id, state, attempts, worker, error }) =>
    log.debug('settled', { id, state, attempts, worker, code: error?.code }),
  );
  serving.on('progress', ({ id, worker, progress }) =>
    progress.kind === 'log'
      ? log.info(`${progress.stream} of a job`, { id, worker, line: progress.line })
      : log.debug('progress', { id, worker, value: progress.value }),
  );
}

function summarise(run: MasterRun, screen: Screen): void {
  screen.show(run.status());
  screen.end();
  if (!run.hasInput) return;
  const { completed, failed, cancelled, deleted, ended, perSecond, elapsedMs } = run.figures();
  const parts = [`${completed} completed`, `${failed} failed`];
  if (cancelled > 0) parts.push(`${cancelled} cancelled`);
  if (deleted > 0) parts.push(`${deleted} deleted`);
  const speed = ended === 0 ? '' : ` in ${formatDuration(elapsedMs)} (${formatRate(perSecond)} jobs/s)`;
  const failures = run.failureTable();
  if (failures !== '') screen.say(failures);
  screen.say(`${run.total} jobs: ${parts.join(', ')}${speed}.`);
  if (failed > 0) screen.say('To try the failed ones again: the same command with --retry-failed.');
}
