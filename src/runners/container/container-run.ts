import type { Clock } from '../../clock.js';
import type { Container } from '../../containers/container.js';
import type { ContainerEngine } from '../../containers/container-engine.js';
import { DiskWatch } from '../../containers/disk-watch.js';
import { exitError } from '../../containers/exit.js';
import type { OutputStream } from '../../containers/output-lines.js';
import { asPeerworkError, PeerworkError } from '../../errors.js';
import type { Job, Json } from '../../job/job.js';
import { MAX_JOB_DATA_BYTES } from '../../job/limits.js';
import type { RunContext } from '../../job/runner.js';
import type { Tunnel } from '../../job/source.js';
import { bytesBelow } from '../../kit/bytes-below.js';
import { clearAway } from '../../kit/clearing.js';
import { isStackFrame } from '../../kit/fatal-words.js';
import type { Log } from '../../log.js';
import { collectFiles, readResult } from './collect.js';
import { JobFolder } from './job-folder.js';
import { type ContainerJob, MEBIBYTE, readContainerJob } from './settings.js';
import { openTunnelSocket, type TunnelSocket } from './tunnel-socket.js';

const MAX_ERROR_LINE_CHARS = 300;
/** Names around the parts of the output. */
const ENVELOPE_BYTES = 1_024;

/** The runner's resources that a run uses. */
export interface ContainerHost {
  readonly engine: ContainerEngine;
  readonly clock: Clock;
  readonly log: Log;
  /** Registers variables of the container, so that secrets among them are redacted from its stored output. */
  readonly learn: (env: Readonly<Record<string, string>>) => void;
}

/**
 * One job in one container: settings → image (pulled if necessary) → network access → files → container → exit → result. Whatever was
 * acquired on the way is given back by `release`.
 */
export class ContainerRun {
  /** Exit code of the container, once it has ended by itself. */
  exitCode: number | undefined;
  readonly #engine: ContainerEngine;
  readonly #clock: Clock;
  readonly #job: Job;
  readonly #context: RunContext;
  readonly #log: Log;
  readonly #learn: ContainerHost['learn'];
  /** Clean-up steps, executed in reverse order. */
  readonly #undo: (() => Promise<void> | void)[] = [];
  #container: Container | undefined;
  #wish: ContainerJob | undefined;
  #room: JobFolder | undefined;
  #cause: PeerworkError | undefined;
  #lastErrorLine = '';

  constructor({ engine, clock, log, learn }: ContainerHost, job: Job, context: RunContext) {
    this.#engine = engine;
    this.#log = log;
    this.#learn = learn;
    this.#clock = clock;
    this.#job = job;
    this.#context = context;
  }

  /** Resolves with the output of the job; rejects with the reason of its failure. `folder` must not exist yet. */
  async perform(folder: string, signal: AbortSignal): Promise<Json> {
    const wish = await readContainerJob(this.#job, this.#context.workplace, this.#engine.ceilings);
    this.#wish = wish;
    this.#learn(wish.env);
    const room = await this.#start(wish, folder, signal);
    this.#room = room;
    const container = this.#container;
    if (container === undefined) throw new PeerworkError('cancelled');
    await this.#watch(container, wish, room, signal);
    return this.#output(container, wish, room);
  }

  /**
   * Returns what a failed container left, in the shape of a successful output, as far as it is available; undefined if it never ran. A
   * part that cannot be returned is reported in the job's log and does not affect the others.
   */
  async partialOutput(): Promise<Json | undefined> {
    const [container, wish, room] = [this.#container, this.#wish, this.#room];
    if (container === undefined || wish === undefined || room === undefined) return undefined;
    // If we stopped the run, the container has ended by now or is about to.
    const exit = await container.ended;
    if (exit.exitCode === undefined) return undefined;
    const parts: { [name: string]: Json } = { exitCode: exit.exitCode };
    let left = MAX_JOB_DATA_BYTES - ENVELOPE_BYTES;
    const keep = async (name: string, collect: () => Promise<Json | undefined>) => {
      try {
        const part = await collect();
        if (part === undefined) return;
        const bytes = Buffer.byteLength(JSON.stringify(part));
        if (bytes > left) throw new PeerworkError('output-too-large', `${name} has ${bytes} bytes of JSON`);
        left -= bytes;
        parts[name] = part;
      } catch (thrown) {
        this.#reportLine('log', `of what the container has left, ${name} is not given back: ${asPeerworkError(thrown).message}`);
      }
    };
    await keep('stdout', async () => container.stdoutTail);
    await keep('stderr', async () => container.stderrTail);
    await keep('result', () => readResult(room.out));
    if (wish.files.length > 0) await keep('files', () => collectFiles(room.out, wish.files));
    return parts;
  }

  release(): void {
    this.#engine.discard(this.#container, async () => {
      for (const undo of this.#undo.reverse()) await undo();
    });
  }

  async #start(wish: ContainerJob, folder: string, signal: AbortSignal): Promise<JobFolder> {
    const { report, tunnel } = this.#context;
    const engine = this.#engine;
    const image = await engine.images.hold(wish.image, { signal, onProgress: (value) => report({ kind: 'progress', value }) });
    this.#undo.push(() => image.release());
    const egress = await engine.openEgress({
      job: this.#job.id,
      imageLabels: image.labels,
      network: wish.network,
      onRefused: (target, reason) => this.#reportLine('log', `the network policy refused ${target}: ${reason}`),
      ...(tunnel !== undefined && { tunnel }),
    });
    this.#undo.push(() => egress.close());
    const tunnelSocket = tunnel === undefined ? undefined : await this.#openTunnel(tunnel);
    if (wish.network !== 'none') this.#reportLine('log', `network: ${egress.line}`);
    this.#undo.push(async () => void (await clearAway(folder, this.#log)));
    const room = await JobFolder.make(folder, wish, this.#job, this.#context);
    if (signal.aborted) throw new PeerworkError('cancelled');
    const { command, entrypoint, workdir, memoryMb, cpus, pids, tmpMb, stopGraceMs } = wish;
    const spec = {
      ...{ job: this.#job.id, image: wish.image, command, memoryMb, cpus, pids, tmpMb, stopGraceMs, egress },
      ...(entrypoint !== undefined && { entrypoint }),
      ...(workdir !== undefined && { workdir }),
      env: { ...wish.env, ...room.env, ...tunnelSocket?.env },
      mounts: [...room.mounts, ...(tunnelSocket?.mounts ?? [])],
      maxFileBytes: wish.diskBytes,
    };
    this.#container = await engine.start(spec, (stream, line) => this.#reportLine(stream, line));
    return room;
  }

  async #openTunnel(tunnel: Tunnel): Promise<TunnelSocket> {
    if (!this.#engine.facts.local)
      throw new PeerworkError('egress-unavailable', 'the tunnel of the job needs an engine on this very machine');
    const tunnelSocket = await openTunnelSocket(tunnel, (error) => this.#reportLine('log', `tunnel: ${error.message}`));
    this.#undo.push(() => tunnelSocket.close());
    return tunnelSocket;
  }

  /** Waits until the container has ended, by itself or because we stopped it. Rejects with the reason, unless it succeeded. */
  async #watch(container: Container, wish: ContainerJob, room: JobFolder, signal: AbortSignal): Promise<void> {
    // A cancelled job may clean up; a worker that closes does not wait for it.
    const end = () => (this.#context.signal.aborted ? container.stop() : container.kill());
    const onAbort = () => this.#stop(new PeerworkError('cancelled'), end);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    const onTimeout = () => this.#stop(new PeerworkError('timeout', `${wish.timeoutMs} ms`), () => container.kill());
    this.#context.begin?.();
    const timer = wish.timeoutMs > 0 ? this.#clock.after(wish.timeoutMs, onTimeout) : undefined;
    const onDiskFull = () => {
      const error = new PeerworkError('scratch-too-large', `more than ${Math.round(wish.diskBytes / MEBIBYTE)} MiB`);
      this.#stop(error, () => container.kill());
    };
    const watch = new DiskWatch(this.#clock, async () => {
      const outBytes = await bytesBelow(room.out, wish.diskBytes);
      const totalBytes = outBytes > wish.diskBytes ? outBytes : outBytes + (await container.written(wish.diskBytes - outBytes));
      if (totalBytes > wish.diskBytes) onDiskFull();
      return totalBytes > wish.diskBytes;
    });
    const exit = await container.ended;
    watch.stop();
    timer?.cancel();
    signal.removeEventListener('abort', onAbort);
    if (this.#cause !== undefined) throw this.#cause;
    this.exitCode = exit.exitCode;
    const error = exitError(exit, wish.memoryMb);
    if (error === undefined) return;
    if (error.code === 'image-missing') this.#engine.images.forget(wish.image);
    if (error.code !== 'container-failed' || this.#lastErrorLine === '') throw error;
    throw new PeerworkError('container-failed', `${error.detail}: ${this.#lastErrorLine}`);
  }

  /** Records the first cause only. */
  #stop(cause: PeerworkError, how: () => Promise<void>): void {
    this.#cause ??= cause;
    void how();
  }

  async #output(container: Container, wish: ContainerJob, room: JobFolder): Promise<Json> {
    const [result, files] = await Promise.all([readResult(room.out), collectFiles(room.out, wish.files)]);
    const output = {
      exitCode: 0,
      ...(result !== undefined && { result }),
      stdout: container.stdoutTail,
      ...(wish.files.length > 0 && { files }),
    };
    const bytes = Buffer.byteLength(JSON.stringify(output));
    if (bytes > MAX_JOB_DATA_BYTES)
      throw new PeerworkError('output-too-large', `${bytes} bytes of JSON, allowed are ${MAX_JOB_DATA_BYTES}`);
    return output;
  }

  #reportLine(stream: OutputStream, line: string): void {
    if (stream === 'stderr' && line.trim() !== '' && !isStackFrame(line)) this.#lastErrorLine = line.trim().slice(0, MAX_ERROR_LINE_CHARS);
    this.#context.report({ kind: 'log', stream, line });
  }
}
