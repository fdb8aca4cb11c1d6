import { spawn } from 'node:child_process';
import { type Clock, pause } from '../../clock.js';
import { PeerworkError } from '../../errors.js';
import { isAlive, type MarkedProcess, signalProcess } from '../../kit/process-mark.js';
import { withoutInspector } from '../../sandbox/inspector.js';
import { type Keeper, type KeeperState, SECOND_SIGNAL_MS, type ServicePlan } from './keeper.js';
import { tailLog } from './log-tail.js';
import { readRecord, serviceFolder } from './record.js';
import { STOP_GRACE_MS } from './supervisor.js';
import { logFile, readSupervisorState, supervisorProgram } from './supervisor-state.js';

const POLL_MS = 50;
const START_MS = 10_000;
/** Time for the supervisor to finish after its Worker was killed, in milliseconds. */
const KILL_GRACE_MS = 5_000;

/** A supervisor process of our own, for machines without systemd and launchd: works everywhere, but does not survive a reboot. */
export class BackgroundKeeper implements Keeper {
  readonly kind = 'background';
  readonly description = 'a supervisor in the background';
  readonly #folder: string;
  readonly #clock: Clock;

  constructor({ home, name, clock }: { readonly home: string; readonly name: string; readonly clock: Clock }) {
    this.#folder = serviceFolder(home, name);
    this.#clock = clock;
  }

  async install({ folder }: ServicePlan): Promise<readonly string[]> {
    await this.stop({ now: false });
    await this.#start();
    const restartLine = `cd ${shellWord(folder)} && ${[process.execPath, process.argv[1] ?? 'peerwork'].map(shellWord).join(' ')} start-bg`;
    return [
      'This supervisor does not outlive a restart of the machine. Where there is a cron, this line in `crontab -e` starts it again:',
      `@reboot ${restartLine}`,
    ];
  }

  async state(): Promise<KeeperState> {
    const state = await readSupervisorState(this.#folder);
    const worker = state?.worker !== undefined && isAlive(state.worker) ? state.worker : undefined;
    if (state === undefined || !isAlive(state.supervisor))
      return { running: false, detail: worker === undefined ? 'stopped' : 'the supervisor was killed, the Worker is ending' };
    const { restarts, lastEnd, nextStartAt } = state;
    if (worker !== undefined) return { running: true, pid: worker.pid, restarts, detail: 'running' };
    const waitMs = Math.max(0, (nextStartAt ?? 0) - this.#clock.wall());
    return { running: false, restarts, detail: `ended (${lastEnd}), starts again in ${Math.ceil(waitMs / 1_000)} s` };
  }

  async logs(options: { readonly lines: number; readonly follow: boolean; readonly signal: AbortSignal }): Promise<void> {
    await tailLog({ ...options, file: logFile(this.#folder), clock: this.#clock, write: (text) => process.stdout.write(text) });
  }

  async restart(options: { readonly now: boolean }): Promise<void> {
    await this.stop(options);
    await this.#start();
  }

  async stop({ now }: { readonly now: boolean }): Promise<void> {
    const state = await readSupervisorState(this.#folder);
    if (state === undefined) return;
    const { supervisor, worker } = state;
    const drainMs = (await readRecord(this.#folder))?.drainMs ?? 0;
    // A Worker whose supervisor has died is draining already; another signal would make it stop at once.
    const signalled = isAlive(supervisor) ? supervisor : undefined;
    if (signalled !== undefined) signalProcess(signalled, 'SIGTERM');
    if (now) {
      await pause(this.#clock, SECOND_SIGNAL_MS);
      const target = signalled ?? worker;
      if (target !== undefined) signalProcess(target, 'SIGTERM');
    }
    // If the Worker was restarted since the state was written, its supervisor takes care of the new one.
    const both = [supervisor, ...(worker === undefined ? [] : [worker])];
    if (await this.#haveEnded(both, drainMs + STOP_GRACE_MS + KILL_GRACE_MS)) return;
    if (worker !== undefined) signalProcess(worker, 'SIGKILL', { group: true });
    signalProcess(supervisor, 'SIGKILL');
    if (!(await this.#haveEnded(both, KILL_GRACE_MS))) throw new PeerworkError('service-failed', 'its processes cannot be killed');
  }

  uninstall(): Promise<void> {
    return this.stop({ now: false });
  }

  async #start(): Promise<void> {
    const record = await readRecord(this.#folder);
    const options = { cwd: this.#folder, detached: true, stdio: 'ignore', ...(record !== undefined && { env: record.env }) } as const;
    const child = spawn(process.execPath, [...withoutInspector, supervisorProgram, this.#folder], options);
    let ended = false;
    child.once('error', () => {
      ended = true;
    });
    child.once('exit', () => {
      ended = true;
    });
    const until = this.#clock.now() + START_MS;
    const isUp = async () => {
      const state = await readSupervisorState(this.#folder);
      return state !== undefined && isAlive(state.supervisor);
    };
    while (!(await isUp())) {
      if (ended || this.#clock.now() > until) throw new PeerworkError('service-failed', 'the supervisor did not start');
      await pause(this.#clock, POLL_MS);
    }
    child.unref();
  }

  async #haveEnded(processes: readonly MarkedProcess[], withinMs: number): Promise<boolean> {
    const until = this.#clock.now() + withinMs;
    while (processes.some(isAlive)) {
      if (this.#clock.now() > until) return false;
      await pause(this.#clock, POLL_MS);
    }
    return true;
  }
}

function shellWord(text: string): string {
  return /^[\w./@:=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
