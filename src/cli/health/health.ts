import { stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { systemClock } from '../../clock.js';
import { DEFAULT_HOME } from '../../config/defaults.js';
import { asPeerworkError, PeerworkError } from '../../errors.js';
import type { Check } from '../../job/health.js';
import { redact } from '../../log.js';
import { readIceServers } from '../../swarm/link/ice.js';
import { nodePlatform } from '../../swarm/platform.node.js';
import { chooseIce, chooseTrackers } from '../../swarm/swarm-settings.js';
import { parseToken, rendezvousHashes, type Token } from '../../swarm/token.js';
import { version } from '../../version.js';
import { print, printJson } from '../client/print.js';
import type { Options } from '../option-table.js';
import { dotenvFile, readOptions } from '../options.js';
import { runnerCommands } from '../runners.js';
import { findService } from '../service/installed.js';
import { commandLine } from '../setup.js';
import { wires } from '../wires.js';
import { checkIce } from './ice.js';
import { checkDisk, checkMemory, checkNpm, checkSandbox } from './machine.js';
import { checkMaster } from './master.js';
import { checkTrackers } from './rendezvous.js';
import { checkWallClock } from './wall-clock.js';

const DEFAULT_SECONDS = 20;

interface CheckContext {
  readonly options: Options;
  readonly home: string;
  readonly signal: AbortSignal;
}

/** Checks everything this Worker is configured for. Exit code 1 if something fails. */
export async function health(command: Command): Promise<number> {
  const { timeout = String(DEFAULT_SECONDS), json = false } = command.opts<{ timeout?: string; json?: boolean }>();
  if (!/^[1-9]\d{0,3}$/.test(timeout))
    throw new PeerworkError('option-invalid', `--timeout is "${timeout}", but must be a number of seconds`);
  const options = await readOptions(command, 'health');
  const checks = await checksOf(options, dotenvFile(command), Number(timeout) * 1_000);
  const failed = checks.filter(({ state }) => state === 'fail').length;
  if (json) printJson({ healthy: failed === 0, checks: checks.map((check) => ({ ...check, detail: redact(check.detail) })) });
  else print(describeChecks(checks));
  return failed === 0 ? 0 : 1;
}

/** Checks everything a Worker with these options needs. Never rejects. */
export async function checksOf(options: Options, dotenv: string, withinMs = DEFAULT_SECONDS * 1_000): Promise<readonly Check[]> {
  const home = resolve(options.home ?? DEFAULT_HOME);
  const ending = new AbortController();
  const timer = systemClock.after(withinMs, () => ending.abort());
  const context: CheckContext = { options, home, signal: ending.signal };
  const parts = await Promise.all([
    checkConfiguration(options, dotenv),
    checkSwarm(context),
    ...[...wires.filter((source) => source.configured(options)), ...runnerCommands.filter((runner) => runner.wanted(options))].map((one) =>
      unlessBroken('kind' in one ? one.kind : one.name, async () => (await one.check?.(options, context)) ?? []),
    ),
    unlessBroken('disk', async () => [await checkDisk(home)]),
    unlessBroken('npm', async () => [await checkNpm(ending.signal, options)]),
    unlessBroken('sandbox', async () => [await checkSandbox(options)]),
    unlessBroken('memory', async () => [checkMemory(options)]),
    checkService(options),
  ]);
  timer.cancel();
  return parts.flat();
}

/** Formats checks with their hints, and the number of each result. */
export function describeChecks(checks: readonly Check[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap(({ name, state, detail, hint }) => [
    `${state.padEnd(4)}  ${name.padEnd(width)}  ${redact(detail)}`,
    ...(hint === undefined ? [] : [`${' '.repeat(8 + width)}→ ${hint}`]),
  ]);
  const count = (wanted: Check['state']) => checks.filter(({ state }) => state === wanted).length;
  const warnings = count('warn');
  return `${lines.join('\n')}\n\n${count('ok')} ok, ${warnings} ${warnings === 1 ? 'warning' : 'warnings'}, ${count('fail')} failed`;
}

async function checkConfiguration(options: Options, dotenv: string): Promise<Check[]> {
  const runs: Check = {
    name: 'peerwork',
    state: 'ok',
    detail: `${version} on Node ${process.version}, ${process.platform} ${process.arch}`,
  };
  const served = [
    ...(options.token === undefined ? [] : ['master']),
    ...wires.filter((one) => one.configured(options)).map(({ name }) => name),
  ];
  const serves: Check =
    served.length > 0
      ? { name: 'serves', state: 'ok', detail: served.join(', ') }
      : { name: 'serves', state: 'fail', detail: 'nobody', hint: `Run \`${commandLine('configure')}\`.` };
  const mode = await stat(dotenv).then(
    (found) => found.mode & 0o077,
    () => 0,
  );
  if (mode === 0 || process.platform === 'win32') return [runs, serves];
  return [
    runs,
    serves,
    { name: '.env', state: 'warn', detail: `others on this machine can read ${dotenv}`, hint: `Run \`chmod 600 ${dotenv}\`.` },
  ];
}

/** Checks token, trackers, ICE servers, clock and Master, for a Worker that has a token. */
async function checkSwarm({ options, home, signal }: CheckContext): Promise<Check[]> {
  if (options.token === undefined) return [];
  let token: Token;
  try {
    token = parseToken(options.token);
  } catch (thrown) {
    const { message, hint } = asPeerworkError(thrown);
    return [{ name: 'token', state: 'fail', detail: message, hint }];
  }
  const clock = systemClock;
  const platform = nodePlatform();
  const trackers = chooseTrackers(options.trackers, token.trackers);
  const { servers, refused } = readIceServers(options.ice ?? chooseIce(token, trackers));
  const infoHash = rendezvousHashes(token, platform.primitives)[0] ?? new Uint8Array(20);
  const worker = options.name ?? hostname();
  const [ofTrackers, ofIce, ofMaster, ofClock] = await Promise.all([
    unlessBroken('tracker', () => checkTrackers({ urls: trackers, infoHash, platform, clock, signal })),
    unlessBroken('ice', () => checkIce({ servers, platform, clock, signal })),
    unlessBroken('master', async () => [await checkMaster({ token, options, worker, home, platform, clock, signal })]),
    unlessBroken('clock', async () => [await checkWallClock({ urls: trackers, clock, signal })].filter((check) => check !== undefined)),
  ]);
  const noTracker = ofTrackers.length > 0 && ofTrackers.every(({ state }) => state === 'fail');
  const found = ofMaster.every(({ state }) => state === 'ok');
  return [
    { name: 'token', state: 'ok', detail: 'whole' },
    ...ofTrackers,
    // Once linked, there is a path, whichever server did not respond.
    ...refused.map(({ message, hint }): Check => ({ name: 'ice', state: 'warn', detail: message, hint })),
    ...ofIce.map((check): Check => (found && check.state === 'fail' ? { ...check, state: 'warn' } : check)),
    ...ofClock,
    ...(noTracker ? ofMaster.map(notSearchedFor) : ofMaster),
  ];
}

/** Without a tracker nothing can be said about the Master, and starting it would not help. */
function notSearchedFor(check: Check): Check {
  if (check.state !== 'fail') return check;
  return { ...check, detail: 'not looked for: no tracker responds', hint: 'Fix the trackers first.' };
}

function checkService(options: Options): Promise<readonly Check[]> {
  const name = 'service';
  return unlessBroken(name, async () => {
    const service = await findService(options);
    if (service === undefined)
      return [{ name, state: 'ok', detail: `none installed; \`${commandLine('start-bg')}\` would keep this Worker running` }];
    const { running, detail } = await service.keeper.state();
    const what = `${service.keeper.description}: ${detail}`;
    if (running) return [{ name, state: 'ok', detail: what }];
    return [
      { name, state: 'fail', detail: what, hint: `Run \`${commandLine('restart')}\`; \`${commandLine('logs')}\` shows why it ended.` },
    ];
  });
}

/** Runs a check; if it throws, that becomes a finding too. */
async function unlessBroken(name: string, check: () => Promise<readonly Check[]>): Promise<readonly Check[]> {
  try {
    return await check();
  } catch (thrown) {
    const { message, hint } = asPeerworkError(thrown);
    return [{ name, state: 'fail', detail: message, hint }];
  }
}
