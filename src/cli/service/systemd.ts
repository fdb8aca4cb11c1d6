import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { homedir, userInfo } from 'node:os';
import { join } from 'node:path';
import { type Clock, pause } from '../../clock.js';
import { PeerworkError } from '../../errors.js';
import { type RunTool, runOrThrow } from '../../kit/run-tool.js';
import { type Keeper, type KeeperState, SECOND_SIGNAL_MS, type ServicePlan } from './keeper.js';
import { systemdUnit } from './systemd-unit.js';

export interface SystemdOptions {
  readonly name: string;
  readonly system: boolean;
  readonly run: RunTool;
  readonly clock: Clock;
  /** Command line of the Worker that systemd runs. */
  readonly command: (plan: ServicePlan) => readonly string[];
  /** Folder of units; default: that of the machine, or of this user. */
  readonly units?: string;
}

const SHOWN = ['ActiveState', 'SubState', 'MainPID', 'NRestarts', 'Result'] as const;
/** systemctl waits for the Worker, which may finish its jobs and has a limit of its own. */
const STOP_MS = 25 * 3_600_000;

/** A unit of the system's systemd, or of the user's own. */
export class SystemdKeeper implements Keeper {
  readonly kind;
  readonly description;
  readonly #options: SystemdOptions;
  readonly #unit: string;
  readonly #file: string;

  constructor(options: SystemdOptions) {
    this.#options = options;
    this.kind = options.system ? ('systemd-system' as const) : ('systemd-user' as const);
    this.#unit = `${options.name}.service`;
    const units = options.units ?? unitFolders()[this.kind];
    this.#file = join(units, this.#unit);
    this.description = `the systemd ${options.system ? 'system' : 'user'} service ${this.#unit}`;
  }

  async install(plan: ServicePlan): Promise<readonly string[]> {
    const { system, command } = this.#options;
    const before = await readFile(this.#file, 'utf8').catch(() => '');
    const folder = plan.folder.replaceAll('%', '%%');
    // The second form appears in units not written by `start-bg`.
    const isOfFolder = [`WorkingDirectory=${folder}`, `EnvironmentFile=${folder}/.env`].some((line) => before.split('\n').includes(line));
    if (before !== '' && !isOfFolder) throw new PeerworkError('service-taken', this.#file);
    try {
      await mkdir(join(this.#file, '..'), { recursive: true });
      // A proxy URL in it may contain a password.
      await writeFile(this.#file, systemdUnit(plan, command(plan), { system }), { mode: 0o600 });
    } catch (thrown) {
      throw new PeerworkError('service-failed', thrown instanceof Error ? thrown.message : String(thrown));
    }
    await this.#systemctl('daemon-reload');
    await this.#systemctl('enable', '--quiet', this.#unit);
    await this.#systemctl('restart', this.#unit);
    return system ? [] : this.#linger();
  }

  async state(): Promise<KeeperState> {
    const text = await this.#systemctl('show', this.#unit, `--property=${SHOWN.join(',')}`);
    const properties = Object.fromEntries(
      text.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    );
    const pid = Number(properties['MainPID'] ?? 0);
    const restarts = Number(properties['NRestarts'] ?? Number.NaN);
    const result = properties['Result'] === 'success' || !properties['Result'] ? '' : `, ${properties['Result']}`;
    return {
      running: properties['ActiveState'] === 'active',
      detail: `${properties['ActiveState'] ?? 'unknown'} (${properties['SubState'] ?? 'unknown'}${result})`,
      ...(pid > 0 && { pid }),
      ...(Number.isInteger(restarts) && { restarts }),
    };
  }

  async logs({ lines, follow, signal }: { readonly lines: number; readonly follow: boolean; readonly signal: AbortSignal }): Promise<void> {
    const args = ['--unit', this.#unit, '--lines', String(lines), '--no-pager', '--output', 'cat', ...(follow ? ['--follow'] : [])];
    const { code, stderr } = await this.#options.run('journalctl', this.#flags(args), { inherit: true, signal, timeoutMs: 0 });
    if (code !== 0 && !signal.aborted) throw new PeerworkError('service-failed', stderr || 'journalctl shows nothing');
  }

  async restart({ now }: { readonly now: boolean }): Promise<void> {
    if (now) await this.stop({ now });
    await this.#systemctl('restart', this.#unit);
  }

  async stop({ now }: { readonly now: boolean }): Promise<void> {
    const stopped = this.#systemctl('stop', this.#unit);
    if (now) {
      await Promise.race([stopped, pause(this.#options.clock, SECOND_SIGNAL_MS)]);
      // If it has ended by now, there is nothing to signal.
      await this.#options.run('systemctl', this.#flags(['kill', '--kill-who=main', '--signal=SIGTERM', this.#unit]));
    }
    await stopped;
  }

  async uninstall(): Promise<void> {
    if (existsSync(this.#file)) await this.#systemctl('disable', '--quiet', '--now', this.#unit);
    await rm(this.#file, { force: true });
    await this.#systemctl('daemon-reload');
    await this.#options.run('systemctl', this.#flags(['reset-failed', this.#unit]));
  }

  /** Without lingering, systemd stops a user's services on logout, and starts none at boot. */
  async #linger(): Promise<readonly string[]> {
    const { run } = this.#options;
    const user = userInfo().username;
    const { code, stdout } = await run('loginctl', ['show-user', user, '--property=Linger', '--value']);
    if (code === 0 && stdout.trim() === 'yes') return [];
    if ((await run('loginctl', ['enable-linger', user])).code === 0)
      return ['Lingering was enabled for your user: the Worker starts with the machine and keeps running when you log out.'];
    return ['The Worker ends when you log out, until an administrator allows lingering:', `sudo loginctl enable-linger ${user}`];
  }

  #systemctl(...args: readonly string[]): Promise<string> {
    return runOrThrow(this.#options.run, 'systemctl', this.#flags(args), { timeoutMs: STOP_MS });
  }

  #flags(args: readonly string[]): readonly string[] {
    return this.#options.system ? args : ['--user', ...args];
  }
}

/** Returns the folders of systemd units, by keeper. */
export function unitFolders(): Readonly<Record<'systemd-system' | 'systemd-user', string>> {
  return { 'systemd-system': '/etc/systemd/system', 'systemd-user': join(configFolder(), 'systemd', 'user') };
}

function configFolder(): string {
  return process.env['XDG_CONFIG_HOME'] || join(homedir(), '.config');
}
