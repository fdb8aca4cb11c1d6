import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Clock, pause } from '../clock.js';
import { EXIT_KILLED } from '../kit/exit-codes.js';
import { type CommandLine, complaintOf, type OpenCommand } from './command-line.js';
import type { EngineFacts } from './engine-facts.js';
import { type InspectedState, inspectedState, readEngineJson } from './engine-json.js';
import { type ContainerExit, readExit } from './exit.js';
import { type OnLine, OutputLines } from './output-lines.js';
import { WritableLayer } from './writable-layer.js';

export interface ContainerHost {
  readonly facts: EngineFacts;
  readonly command: CommandLine;
  readonly clock: Clock;
}

export interface ContainerOptions {
  /** Folder of this container alone, in which its command runs. */
  readonly folder: string;
  readonly graceMs?: number;
  readonly onLine: OnLine;
  /** Whether it may write outside of mounts. */
  readonly writable: boolean;
}

const DEFAULT_GRACE_MS = 10_000;
/** Time beyond the grace after which the engine itself counts as stuck. */
const STOP_MARGIN_MS = 30_000;
const RECONNECT_MS = 1_000;
const LATE_EVENT_MS = 300;
const ENGINE_ERROR = 125;

/**
 * One container from its start to its removal. It runs attached to a command of the engine's command line, a single process that carries
 * its output and its exit code. After exit code 0 nothing else is queried; otherwise the engine is queried once about how it ended.
 *
 * Running → (ended by itself | `stop`: asked to end, then killed | `kill`) → `ended` resolves → `remove`.
 */
export class Container {
  readonly name: string;
  /** Resolves with how the container ended. Never rejects. */
  readonly ended: Promise<ContainerExit>;
  readonly #host: ContainerHost;
  readonly #run: OpenCommand;
  readonly #folder: string;
  readonly #graceMs: number;
  readonly #lines: OutputLines;
  readonly #layer: WritableLayer | undefined;
  #stopping: Promise<void> | undefined;

  constructor(host: ContainerHost, name: string, run: OpenCommand, options: ContainerOptions) {
    this.name = name;
    this.#folder = options.folder;
    this.#host = host;
    this.#run = run;
    this.#graceMs = options.graceMs ?? DEFAULT_GRACE_MS;
    this.#layer = options.writable ? new WritableLayer(host, name) : undefined;
    let stderrStart = '';
    this.#lines = new OutputLines(run.stdout, run.stderr, host.clock, (stream, line) => {
      // If the container does not start, stderr is the engine's.
      if (stream === 'stderr') stderrStart = `${stderrStart}${line}\n`.slice(0, 4_000);
      options.onLine(stream, line);
    });
    this.ended = this.#end(() => stderrStart);
  }

  /** The end of its stdout, at most 64 Ki characters. */
  get stdoutTail(): string {
    return this.#lines.tail('stdout');
  }

  /** The end of its stderr, at most 64 Ki characters. */
  get stderrTail(): string {
    return this.#lines.tail('stderr');
  }

  /** Returns how much it has written outside of mounts, in bytes; stops counting beyond `enough`. Never rejects. */
  async written(enough: number): Promise<number> {
    return (await this.#layer?.bytes(enough)) ?? 0;
  }

  /** Asks it to end, and kills it when the grace is over. Resolves when it is gone. */
  stop(graceMs = this.#graceMs): Promise<void> {
    this.#stopping ??= this.#stop(['stop', '-t', String(Math.ceil(graceMs / 1_000)), this.name], graceMs);
    return this.#stopping;
  }

  /** Kills it without asking. */
  kill(): Promise<void> {
    const before = this.#stopping;
    // A kill does not wait for a stop in progress.
    this.#stopping = Promise.all([before, this.#stop(['kill', this.name], 0)]).then(() => {});
    return this.#stopping;
  }

  /** Removes what is left of it, killing it if it still runs. Never rejects. */
  async remove(): Promise<void> {
    const { command } = this.#host;
    await command.try(['rm', '-f', '-v', this.name]);
    this.#run.kill();
  }

  async #stop(args: readonly string[], graceMs: number): Promise<void> {
    const result = await this.#host.command.try(args, { timeoutMs: graceMs + STOP_MARGIN_MS });
    // It may not have started yet, or be gone already; otherwise `rm -f` is the last resort.
    if (result.exitCode !== 0) await this.remove();
    await this.ended;
  }

  /**
   * Adds whether it was killed for memory. Docker learns of the kill and of the end in any order, and reports OOMKilled only if the kill
   * came first: 20.10 on a busy machine missed 5 of 25, while its events included all of them. They are queried only if something was
   * killed and the cause is unknown.
   *
   * Podman never reports it on cgroup v1, but its conmon leaves a file in the folder that the command ran in (4.3: for 35 of 35 such
   * kills, for none of 5 others).
   */
  async #withOutOfMemory(state: InspectedState): Promise<InspectedState> {
    const { facts, command, clock } = this.#host;
    if (state.OOMKilled === true || this.#stopping !== undefined) return state;
    if (facts.kind === 'podman') return { ...state, OOMKilled: existsSync(join(this.#folder, 'oom')) };
    if (state.ExitCode !== EXIT_KILLED) return state;
    await pause(clock, LATE_EVENT_MS);
    const filters = ['--filter', `container=${this.name}`, '--filter', 'event=oom'];
    const { stdout } = await command.try(['events', '--since', '5m', '--until', '0s', ...filters, '--format', '{{.Action}}']);
    return { ...state, OOMKilled: /^oom/m.test(stdout) };
  }

  async #end(stderrStart: () => string): Promise<ContainerExit> {
    let exitCode = await this.#run.ended;
    if (exitCode === 0) return { exitCode, outOfMemory: false };
    const { command, clock } = this.#host;
    for (;;) {
      const { stdout, exitCode: known } = await command.try(['inspect', '--format', '{{json .State}}', this.name]);
      if (known !== 0) {
        const gone = exitCode === ENGINE_ERROR || exitCode === undefined;
        if (gone) return { exitCode: undefined, outOfMemory: false, complaint: complaintOf(stderrStart()) };
        return { exitCode, outOfMemory: this.#lines.heapFull && this.#stopping === undefined };
      }
      const state = readEngineJson(inspectedState, stdout);
      if (state === undefined) return { exitCode: undefined, outOfMemory: false, complaint: 'the engine does not say how it ended' };
      if (state.Running !== true) {
        const words = { said: complaintOf(stderrStart()), heapFull: this.#lines.heapFull };
        return readExit(await this.#withOutOfMemory(state), this.#stopping !== undefined, words);
      }
      // The engine has disconnected (because it was restarted, for example), and the container is still running.
      const waited = await command.try(['wait', this.name], { timeoutMs: 2_147_000_000 });
      exitCode = waited.exitCode === 0 ? Number(waited.stdout.trim()) : undefined;
      await pause(clock, RECONNECT_MS);
    }
  }
}
