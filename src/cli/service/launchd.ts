import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { type Clock, pause } from '../../clock.js';
import { PeerworkError } from '../../errors.js';
import { isAlive, signalProcess } from '../../kit/process-mark.js';
import { type RunTool, runOrThrow } from '../../kit/run-tool.js';
import { type Keeper, type KeeperState, SECOND_SIGNAL_MS, type ServicePlan } from './keeper.js';
import { tailLog } from './log-tail.js';
import { readRecord, serviceFolder } from './record.js';
import { STOP_GRACE_MS } from './supervisor.js';
import { logFile, readSupervisorState, supervisorProgram } from './supervisor-state.js';

export interface LaunchdOptions {
  readonly home: string;
  readonly name: string;
  readonly run: RunTool;
  readonly clock: Clock;
  readonly uid: number;
  /** Folder of property lists; default: that of this user, or of the machine for root. */
  readonly agents?: string;
}

const POLL_MS = 100;

/** A launchd agent (a daemon for root) that runs our supervisor, which limits the log and restarts the Worker sooner than launchd would. */
export class LaunchdKeeper implements Keeper {
  readonly kind = 'launchd';
  readonly description;
  readonly #options: LaunchdOptions;
  readonly #folder: string;
  readonly #label: string;
  readonly #domain: string;
  readonly #file: string;

  constructor(options: LaunchdOptions) {
    const { home, name, uid } = options;
    this.#options = options;
    this.#folder = serviceFolder(home, name);
    this.#label = `peerwork.${name}`;
    this.#domain = uid === 0 ? 'system' : `gui/${uid}`;
    const agents = options.agents ?? (uid === 0 ? '/Library/LaunchDaemons' : join(homedir(), 'Library', 'LaunchAgents'));
    this.#file = join(agents, `${this.#label}.plist`);
    this.description = `the launchd ${uid === 0 ? 'daemon' : 'agent'} ${this.#label}`;
  }

  async install({ folder, env, drainMs }: ServicePlan): Promise<readonly string[]> {
    const plist = launchdPlist({
      label: this.#label,
      command: [process.execPath, supervisorProgram, this.#folder],
      folder,
      env,
      exitSeconds: Math.ceil((drainMs + 2 * STOP_GRACE_MS) / 1_000),
      errorFile: join(this.#folder, 'supervisor.err'),
    });
    const before = await readFile(this.#file, 'utf8').catch(() => '');
    if (before !== '' && !before.includes(`<string>${this.#folder.replaceAll('&', '&amp;')}</string>`))
      throw new PeerworkError('service-taken', this.#file);
    await this.stop({ now: false });
    try {
      await mkdir(dirname(this.#file), { recursive: true });
      await writeFile(this.#file, plist, { mode: 0o600 });
    } catch (thrown) {
      throw new PeerworkError('service-failed', thrown instanceof Error ? thrown.message : String(thrown));
    }
    await this.#bootstrap();
    return this.#options.uid === 0
      ? []
      : ['A launchd agent runs while you are logged in; `sudo peerwork start-bg` makes a daemon of the machine.'];
  }

  async state(): Promise<KeeperState> {
    const { code, stdout } = await this.#options.run('launchctl', ['print', this.#target]);
    if (code !== 0) return { running: false, detail: 'not loaded' };
    const word = /^\s*state = (.+)$/m.exec(stdout)?.[1] ?? 'unknown';
    const state = await readSupervisorState(this.#folder);
    const worker = state?.worker !== undefined && isAlive(state.worker) ? state.worker : undefined;
    if (worker === undefined) return { running: false, detail: `${word}, the Worker is not there` };
    return { running: true, pid: worker.pid, restarts: state?.restarts ?? 0, detail: word };
  }

  async logs(options: { readonly lines: number; readonly follow: boolean; readonly signal: AbortSignal }): Promise<void> {
    await tailLog({ ...options, file: logFile(this.#folder), clock: this.#options.clock, write: (text) => process.stdout.write(text) });
  }

  async restart(options: { readonly now: boolean }): Promise<void> {
    await this.stop(options);
    await this.#bootstrap();
  }

  /** launchd has no "stopped" state: the job is removed, and loaded again by `restart` or the next login. */
  async stop({ now }: { readonly now: boolean }): Promise<void> {
    const { run, clock } = this.#options;
    if ((await run('launchctl', ['print', this.#target])).code !== 0) return;
    const state = await readSupervisorState(this.#folder);
    await runOrThrow(run, 'launchctl', ['bootout', this.#target], { timeoutMs: 0 });
    if (state === undefined) return;
    if (now) {
      await pause(clock, SECOND_SIGNAL_MS);
      signalProcess(state.supervisor, 'SIGTERM');
    }
    // bootout returns before the process has ended.
    const drainMs = (await readRecord(this.#folder))?.drainMs ?? 0;
    const until = clock.now() + drainMs + 2 * STOP_GRACE_MS;
    while (isAlive(state.supervisor) && clock.now() < until) await pause(clock, POLL_MS);
  }

  async uninstall(): Promise<void> {
    if (existsSync(this.#file)) await this.stop({ now: false });
    await rm(this.#file, { force: true });
  }

  get #target(): string {
    return `${this.#domain}/${this.#label}`;
  }

  async #bootstrap(): Promise<void> {
    await runOrThrow(this.#options.run, 'launchctl', ['bootstrap', this.#domain, this.#file]);
  }
}

interface PlistPlan {
  readonly label: string;
  readonly command: readonly string[];
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;
  /** Seconds between SIGTERM and SIGKILL. */
  readonly exitSeconds: number;
  /** Receives output that the supervisor itself cannot log. */
  readonly errorFile: string;
}

/** Returns the property list of a launchd agent: started at login (or boot, for root), and again 10 s after it ends. */
export function launchdPlist({ label, command, folder, env, exitSeconds, errorFile }: PlistPlan): string {
  const entries = Object.entries(env).map(([key, value]) => `    <key>${escapeXml(key)}</key>\n    ${string(value)}`);
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">',
    '<plist version="1.0">',
    '<dict>',
    `  <key>Label</key>\n  ${string(label)}`,
    '  <key>ProgramArguments</key>',
    `  <array>\n${command.map((word) => `    ${string(word)}`).join('\n')}\n  </array>`,
    `  <key>WorkingDirectory</key>\n  ${string(folder)}`,
    `  <key>EnvironmentVariables</key>\n  <dict>\n${entries.join('\n')}\n  </dict>`,
    '  <key>RunAtLoad</key>\n  <true/>',
    '  <key>KeepAlive</key>\n  <true/>',
    '  <key>ThrottleInterval</key>\n  <integer>10</integer>',
    `  <key>ExitTimeOut</key>\n  <integer>${exitSeconds}</integer>`,
    '  <key>ProcessType</key>\n  <string>Standard</string>',
    // 077 in decimal: launchd does not read octal.
    '  <key>Umask</key>\n  <integer>63</integer>',
    `  <key>StandardErrorPath</key>\n  ${string(errorFile)}`,
    '</dict>',
    '</plist>',
    '',
  ].join('\n');
}

function string(text: string): string {
  return `<string>${escapeXml(text)}</string>`;
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
