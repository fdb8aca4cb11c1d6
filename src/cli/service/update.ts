import { dirname } from 'node:path';
import type { Command } from 'commander';
import { systemClock } from '../../clock.js';
import { PeerworkError } from '../../errors.js';
import { LOCAL_JSON, parseJson } from '../../kit/json.js';
import { type RunTool, runTool } from '../../kit/run-tool.js';
import { version } from '../../version.js';
import { print, printJson } from '../client/print.js';
import { readOptions } from '../options.js';
import { type InstallKind, installKind, packageFolder } from './install-kind.js';
import { findService } from './installed.js';
import { untilUp } from './until-up.js';

const ASK_MS = 60_000;
const INSTALL_MS = 15 * 60_000;
const PACKAGE = 'peerwork';

/** How to update an installation of one kind. */
export interface UpdateStep {
  /** Shown to the owner, who types it if we do not run it. */
  readonly line: string;
  /** Absent if we do not run the update. */
  readonly npm?: { readonly args: readonly string[]; readonly cwd: string };
}

/** Returns how to update an installation of this kind. */
export function updateStep(kind: InstallKind, folder = packageFolder): UpdateStep {
  const npm = (cwd: string, ...args: readonly string[]) => ({ line: `npm ${args.join(' ')}  (in ${cwd})`, npm: { args, cwd } });
  if (kind === 'clone')
    return { line: `cd ${folder} && git pull --ff-only && node scripts/setup.mjs --for-use && node bin/peerwork.js restart` };
  if (kind === 'npx') return { line: 'npx peerwork@latest … takes the latest by itself' };
  if (kind === 'global') return npm(dirname(folder), 'install', '--global', `${PACKAGE}@latest`);
  return npm(dirname(dirname(folder)), 'install', `${PACKAGE}@latest`);
}

/**
 * Installs the latest published version, if npm has installed this one, and restarts the service. For a clone or an npx cache it
 * only prints what to do.
 */
export async function update(command: Command): Promise<number> {
  const options = await readOptions(command, 'update');
  const { check = false, json = false } = command.opts<{ check?: boolean; json?: boolean }>();
  const kind = installKind();
  const step = updateStep(kind);
  const latest = await latestVersion(runTool);
  const newer = latest !== undefined && isNewer(latest, version);
  const would = newer || latest === undefined ? step.line : undefined;
  if (json && (check || !newer || step.npm === undefined)) {
    printJson({ installed: version, latest: latest ?? null, newer, kind, would: would ?? null });
    return 0;
  }
  if (latest === undefined) print(`peerwork ${version} is installed; the registry knows no published version.`);
  else print(newer ? `peerwork ${version} is installed, ${latest} is published.` : `peerwork ${version} is the latest (${latest}).`);
  if (step.npm === undefined) {
    if (would !== undefined) print(`This is a ${kind === 'clone' ? 'clone of the repository' : 'run of npx'}. To update: ${would}`);
    return 0;
  }
  if (!newer) return 0;
  if (check) {
    print(`To update: ${step.line}, then the service is restarted. \`peerwork update\` does both.`);
    return 0;
  }
  const { code, stderr } = await runTool('npm', [...step.npm.args, '--no-audit', '--no-fund'], {
    cwd: step.npm.cwd,
    timeoutMs: INSTALL_MS,
  });
  if (code !== 0) throw new PeerworkError('update-failed', lastLines(stderr));
  const service = await findService(options);
  const runs = service !== undefined && (await service.keeper.state()).running;
  if (runs) {
    const since = systemClock.wall();
    await service.keeper.restart({ now: false });
    if (!service.foreign) await untilUp(service.keeper, service.record.home, since);
  }
  if (json) printJson({ installed: latest, latest, newer: false, kind, restarted: runs });
  else print(`Updated to ${latest}.${runs ? ' The Worker was restarted.' : ''}`);
  return 0;
}

/** Queries the registry that npm is configured for; undefined if it has no such package. */
async function latestVersion(run: RunTool): Promise<string | undefined> {
  const { code, stdout, stderr } = await run('npm', ['view', `${PACKAGE}@latest`, 'version', '--json'], { timeoutMs: ASK_MS });
  if (code !== 0 && /E404/.test(stdout + stderr)) return undefined;
  if (code !== 0) throw new PeerworkError('update-failed', lastLines(stderr || stdout));
  try {
    const answer: unknown = parseJson(stdout, LOCAL_JSON);
    if (typeof answer === 'string') return answer;
  } catch {
    // Falls through to the error.
  }
  throw new PeerworkError('update-failed', 'npm does not say which version is the latest');
}

/** Compares version numbers; a pre-release such as `1.0.0-beta.1` comes before its release. */
export function isNewer(candidate: string, than: string): boolean {
  const [theirs, ours] = [candidate, than].map((text) => text.split('-')[0]?.split('.').map(Number) ?? []);
  for (let place = 0; place < 3; place += 1) {
    const difference = (theirs?.[place] ?? 0) - (ours?.[place] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return !candidate.includes('-') && than.includes('-');
}

function lastLines(text: string): string {
  return text
    .trim()
    .split('\n')
    .filter((line) => !/A complete log|Note that/.test(line))
    .slice(-3)
    .join(' ')
    .replace(/npm (?:error|ERR!) ?/g, '');
}
