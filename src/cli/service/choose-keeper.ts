import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Clock, systemClock } from '../../clock.js';
import { PeerworkError } from '../../errors.js';
import { type RunTool, runTool } from '../../kit/run-tool.js';
import type { KeeperKind } from '../option-table.js';
import { BackgroundKeeper } from './background.js';
import type { Keeper, ServicePlan } from './keeper.js';
import { LaunchdKeeper } from './launchd.js';
import { SystemdKeeper } from './systemd.js';

export interface KeeperPlace {
  readonly home: string;
  readonly name: string;
  readonly run?: RunTool;
  readonly clock?: Clock;
  readonly platform?: NodeJS.Platform;
  readonly uid?: number;
}

const frontDoor = fileURLToPath(new URL('../../../../bin/peerwork.js', import.meta.url));

/** Creates the keeper of this kind for a service. */
export function openKeeper(kind: KeeperKind, place: KeeperPlace): Keeper {
  const { home, name, run = runTool, clock = systemClock, uid = process.getuid?.() ?? 0 } = place;
  if (kind === 'background') return new BackgroundKeeper({ home, name, clock });
  if (kind === 'launchd') return new LaunchdKeeper({ home, name, run, clock, uid });
  setRuntimeDir(uid);
  const command = ({ dotenv }: ServicePlan) => [process.execPath, frontDoor, 'worker', '--dotenv', dotenv];
  return new SystemdKeeper({ name, run, clock, system: kind === 'systemd-system', command });
}

/** Selects the keeper available on this machine. Rejects with `keeper-missing` if the requested one is not available. */
export async function chooseKeeper(wanted: KeeperKind | 'auto', place: KeeperPlace): Promise<Keeper> {
  const { run = runTool, platform = process.platform, uid = process.getuid?.() ?? 0 } = place;
  const missing: Readonly<Record<KeeperKind, () => Promise<string | undefined>>> = {
    launchd: async () => (platform === 'darwin' ? undefined : 'launchd is part of macOS'),
    'systemd-system': async () => {
      if (platform !== 'linux') return 'systemd is part of Linux';
      if (uid !== 0) return 'a service of the system needs root: use sudo';
      return systemdState(await run('systemctl', ['is-system-running']));
    },
    'systemd-user': async () => {
      if (platform !== 'linux') return 'systemd is part of Linux';
      setRuntimeDir(uid);
      return systemdState(await run('systemctl', ['--user', 'is-system-running']));
    },
    background: async () => (platform === 'win32' ? 'on Windows, run `peerwork start` from the Task Scheduler' : undefined),
  };
  if (wanted !== 'auto') {
    const why = await missing[wanted]();
    if (why !== undefined) throw new PeerworkError('keeper-missing', why);
    return openKeeper(wanted, place);
  }
  const order = ['launchd', uid === 0 ? 'systemd-system' : 'systemd-user', 'background'] as const;
  for (const kind of order) if ((await missing[kind]()) === undefined) return openKeeper(kind, place);
  throw new PeerworkError('keeper-missing', (await missing.background()) ?? '');
}

/**
 * Returns why systemd is unusable, from what it reports about itself; undefined if usable. `degraded` only means that some other
 * unit has failed.
 */
function systemdState({ stdout, stderr }: { readonly stdout: string; readonly stderr: string }): string | undefined {
  const word = stdout.trim();
  if (/^(running|degraded|starting|initializing|maintenance)$/.test(word)) return undefined;
  return `systemd does not run here (${word || stderr.trim().split('\n')[0] || 'no output'})`;
}

/** Adds the address of the user's own systemd to the environment, where it is missing after `su` or in a bare ssh session. */
function setRuntimeDir(uid: number): void {
  const folder = `/run/user/${uid}`;
  if (process.env['XDG_RUNTIME_DIR'] === undefined && existsSync(folder)) process.env['XDG_RUNTIME_DIR'] = folder;
}
