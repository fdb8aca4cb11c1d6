import { stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, dirname, isAbsolute, resolve } from 'node:path';
import type { Command } from 'commander';
import { systemClock } from '../../clock.js';
import { DEFAULT_DRAIN_MS, DEFAULT_HOME } from '../../config/defaults.js';
import { PeerworkError } from '../../errors.js';
import { removeTree } from '../../kit/remove-tree.js';
import { snapshotDotenv, writeDotenv } from '../dotenv-file.js';
import { EXIT_UNCONFIGURED } from '../failure.js';
import { optionSpec, optionsOf } from '../option-table.js';
import { dotenvFile, presetOf, readDotenv, readOptions, resolveOptions } from '../options.js';
import { commandLine, storedText, variablesToKeep } from '../setup.js';
import { chooseKeeper, openKeeper } from './choose-keeper.js';
import { installKind } from './install-kind.js';
import type { ServicePlan } from './keeper.js';
import { demandConfiguration, refuseUnready } from './readiness.js';
import { chownFolder, readRecord, serviceFolder, writeRecord } from './record.js';
import { untilUp } from './until-up.js';

/**
 * Installs the Worker of this folder as a service and starts it. Options from flags and environment are written to `.env`, since
 * the service has no others; if installation is refused, that file stays unchanged. An installed service is updated, and restarted
 * with the current `.env`.
 */
export async function startBackground(command: Command): Promise<number> {
  const options = await readOptions(command, 'start-bg');
  demandConfiguration(options);
  if (installKind() === 'npx') throw new PeerworkError('install-fleeting');
  const dotenv = resolve(dotenvFile(command));
  const variables = { ...environmentOptions(process.env), ...variablesToKeep(command, 'start-bg', options) };
  // Resolved without flags and environment, as the service will see it; written only once nothing prevents the service.
  const kept = resolveOptions('start-bg', { dotenv: { ...(await readDotenv(dotenv)), ...variables }, preset: presetOf(command) });
  if (await refuseUnready(kept)) return EXIT_UNCONFIGURED;

  const home = resolve(kept.home ?? DEFAULT_HOME);
  const { serviceName: name } = kept;
  const folder = serviceFolder(home, name);
  const before = await readRecord(folder);
  if (before !== undefined && before.folder !== process.cwd()) throw new PeerworkError('service-taken', `it works in ${before.folder}`);
  const keeper = await chooseKeeper(kept.keeper, { home, name });
  const restoreDotenv = await snapshotDotenv(dotenv);
  await writeDotenv(dotenv, variables);
  // A service of another kind is removed: otherwise its unit would start a second Worker one day.
  if (before !== undefined && before.keeper !== keeper.kind) await openKeeper(before.keeper, { home, name }).uninstall();
  const { uid, gid } = await stat(dotenv);
  const drainMs = kept.drainMs ?? DEFAULT_DRAIN_MS;
  const forOtherUser = keeper.kind === 'systemd-system' && uid !== 0;
  const plan: ServicePlan = {
    name,
    home,
    folder: process.cwd(),
    dotenv,
    user: { uid, gid },
    env: serviceEnvironment({ forOtherUser }),
    drainMs,
  };
  const installedAt = systemClock.wall();
  const { env, folder: workingFolder } = plan;
  await writeRecord(folder, { name, keeper: keeper.kind, home, folder: workingFolder, dotenv, drainMs, env, installedAt });
  if (forOtherUser) await chownFolder(home, name, { uid, gid });
  const notes = await keeper.install(plan).catch(async (refusal: unknown) => {
    // Later commands must not find a service that never existed.
    if (before === undefined) await Promise.all([removeTree(folder), restoreDotenv()]);
    throw refusal;
  });
  const report = await untilUp(keeper, home, installedAt);
  process.stdout.write(
    `The Worker ${report.name} runs, kept by ${keeper.description}.\n${notes.map((note) => `${note}\n`).join('')}` +
      `See it with \`${commandLine('status')}\`, \`${commandLine('logs')}\`; change .env and \`${commandLine('restart')}\`.\n`,
  );
  return 0;
}

/** Returns options from the environment: the service should match a start in this shell, whose environment it will not have. */
function environmentOptions(environment: NodeJS.ProcessEnv): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const key of optionsOf('start-bg')) {
    const spec = optionSpec(key);
    const text = environment[spec.env ?? '']?.trim();
    if (text && spec.env !== undefined) variables[spec.env] = storedText(spec, text);
  }
  return variables;
}

interface EnvironmentOptions {
  /** It will run as another user, whose home folder systemd knows. */
  readonly forOtherUser?: boolean;
  readonly environment?: NodeJS.ProcessEnv;
}

/** Returns the part of our environment that a Worker needs to find programs and the network; its options are in `.env`. */
export function serviceEnvironment({ forOtherUser = false, environment = process.env }: EnvironmentOptions = {}): Record<string, string> {
  const kept = /^(?:lang|lc_all|tz|(?:https?|all|no)_proxy|node_extra_ca_certs|ssl_cert_file|ssl_cert_dir|docker_host|xdg_runtime_dir)$/i;
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) if (value && kept.test(name)) env[name] = value;
  if (forOtherUser) delete env['XDG_RUNTIME_DIR'];
  else env['HOME'] = environment['HOME'] ?? homedir();
  // If node was installed by nvm or a similar tool, only this folder locates it; npm is next to it.
  const folders = [dirname(process.execPath), ...(environment['PATH'] ?? '').split(delimiter)].filter(isAbsolute);
  env['PATH'] = [...new Set([...folders, '/usr/local/bin', '/usr/bin', '/bin'])].join(delimiter);
  return env;
}
