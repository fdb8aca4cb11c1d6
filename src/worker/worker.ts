import { availableParallelism, hostname } from 'node:os';
import { type Clock, systemClock } from '../clock.js';
import { DEFAULT_DRAIN_MS, DEFAULT_HOME } from '../config/defaults.js';
import type { PeerworkError } from '../errors.js';
import type { Outcome } from '../job/job.js';
import type { FileOrigin, Source } from '../job/source.js';
import { within } from '../kit/deadline.js';
import { GuardedEmitter } from '../kit/guarded-emitter.js';
import type { WithoutNull } from '../kit/omit.js';
import { asKnownError } from '../kit/system-error.js';
import { type Log, logOf } from '../log.js';
import { keepInspectorShut } from '../sandbox/inspector.js';
import type { MasterSource, WorkerFacts } from '../sources/master/master-source.js';
import { Outbox } from '../sources/outbox.js';
import { OutgoingFiles } from '../sources/outgoing-files.js';
import { loadOrCreateKeyFile } from '../swarm/key-file.node.js';
import { parseToken, type Token } from '../swarm/token.js';
import type { FileCache } from '../task/file-cache.js';
import type { Workplaces } from '../task/workplace.js';
import { version } from '../version.js';
import { execute } from './execute.js';
import { type Home, takeHome } from './home.js';
import { joinMaster } from './join-master.js';
import { npmOf, openFiles, openWorkplaces } from './open-workplaces.js';
import { resolveOptions, type WorkerEvents, type WorkerOptions, type WorkerStatus } from './options.js';
import { Runners, TASK_MODULE } from './runners.js';
import { Capacity } from './shares.js';
import { Sources } from './sources.js';
import { WorkLoop } from './work-loop.js';

/** How long a drain waits for sources to acknowledge the outboxes, in milliseconds; the rest is delivered at the next start. */
const FLUSH_MS = 5_000;
const GIVE_BACK_MS = 1_000;

interface Parts {
  readonly home: Home;
  readonly runners: Runners;
  readonly master: { readonly source: MasterSource; readonly outbox: Outbox } | undefined;
  readonly others: Sources;
  readonly loop: WorkLoop;
  readonly workplaces: Workplaces;
}

/**
 * Finds its Master, opens its other sources, runs their jobs and returns the results until it is closed.
 *
 * It starts when constructed, and works as soon as one source and the runner of task modules are ready; the others join later.
 * `ready` resolves once it has joined its Master for the first time and its sources and required runners are ready. It rejects, and
 * the Worker closes, if one of them is impossible. `drain` finishes its jobs, or gives them back, and flushes the outboxes; `close`
 * gives everything back at once.
 */
export class Worker extends GuardedEmitter<WorkerEvents> {
  readonly ready: Promise<void>;
  readonly name: string;
  readonly #options: WithoutNull<WorkerOptions>;
  readonly #token: Token | undefined;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #concurrency: number;
  readonly #counts = { completed: 0, failed: 0, released: 0 };
  readonly #starting: Promise<Parts>;
  #parts: Parts | undefined;
  #closing: Promise<void> | undefined;

  /**
   * Without a token and without `sources`, `token` and `transferEncryptToken` come from the environment. Throws `token-missing` if
   * there is neither, another `token-…` error if the token is invalid, `label-reserved` or `option-invalid`.
   */
  constructor(options: string | WorkerOptions = {}) {
    super();
    this.#options = resolveOptions(options);
    const { token } = this.#options;
    this.#token = token ? parseToken(token) : undefined;
    this.name = this.#options.name ?? hostname();
    this.#clock = this.#options.clock ?? systemClock;
    this.#log = logOf(this.#options);
    this.#concurrency = this.#options.concurrency ?? availableParallelism();
    // Jobs may run as the same user and could send any signal, including the one that opens the inspector.
    keepInspectorShut();
    this.#starting = this.#start();
    this.ready = this.#becomeReady();
    this.ready.catch(() => {});
  }

  /** Returns the current state: peers, jobs, counts, isolation and traffic. */
  status(): WorkerStatus {
    const { master: joined, others, loop } = this.#parts ?? {};
    const runners = this.#parts?.runners.ready;
    const master = joined?.source.master;
    return {
      name: this.name,
      master: master && { name: master.name, path: master.peer.path, roundTripMs: master.peer.rpc.roundTripMs },
      sources: this.#sources,
      runners: [...(runners?.values() ?? [])].map(({ kind, isolation }) => ({ kind, isolation })),
      running: Math.min(loop?.running ?? 0, this.#concurrency),
      concurrency: this.#concurrency,
      ...this.#counts,
      outbox: (joined?.outbox.size ?? 0) + (others?.unsent ?? 0),
      isolation: runners?.get(TASK_MODULE)?.isolation ?? '',
      traffic: master?.peer.rpc.traffic ?? { sent: 0, received: 0 },
    };
  }

  /** Claims no more jobs, finishes running ones (or gives them back after `drainMs`), delivers the outboxes, then closes. */
  async drain(): Promise<void> {
    const parts = await this.#starting;
    await parts.loop.drain(this.#options.drainMs ?? DEFAULT_DRAIN_MS);
    await flush(sourcesOf(parts), FLUSH_MS);
    await this.close();
  }

  /** Gives everything back and closes at once. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #start(): Promise<Parts> {
    const shared = { clock: this.#clock, log: this.#log };
    const options = this.#options;
    const home = await takeHome(options.home ?? DEFAULT_HOME, (folder, pid) =>
      this.#log.info('another worker has this folder: the next one is taken', { folder, process: pid }),
    );
    const worker = this.name;
    const concurrency = this.#concurrency;
    let master: Parts['master'];
    // Probes this machine while the Master is being searched for.
    const runners = new Runners({
      ...{ ...shared, worker, concurrency, home, options },
      // Nothing to describe before the runner of task modules is ready: every Worker has it.
      onJoin: () =>
        void runners.taskModules.then(
          () => master?.source.renew(this.#describe(runners.ready)),
          () => {},
        ),
    });
    try {
      const keys = loadOrCreateKeyFile(home.keyFile);
      if (this.#token !== undefined) {
        const outbox = await Outbox.open({ ...shared, folder: home.outbox, key: keys.secret });
        const outgoing = await OutgoingFiles.open({ folder: home.outgoing, key: keys.secret, log: this.#log }, outbox.pending());
        const facts = async () => {
          await runners.taskModules;
          return this.#describe(runners.ready);
        };
        const source = joinMaster({
          ...shared,
          token: this.#token,
          identity: keys.keyPair,
          name: worker,
          outbox,
          outgoing,
          facts,
          options,
        });
        master = { source, outbox };
        this.#listen(source);
        source.start();
      }
      const workplaces = openWorkplaces(home, options, shared, (synced) => this.emit('synced', synced));
      await runners.taskModules;
      const loop = this.#makeLoop(runners, workplaces, openFiles(home, options, shared));
      loop.stopped.addEventListener('abort', () => void Promise.all([workplaces.close(), runners.close()]));
      if (master !== undefined) loop.add(master.source);
      const others = new Sources({
        ...{ ...shared, worker, concurrency, runners, keys, folder: home.sources, setups: options.sources ?? [], npm: npmOf(options) },
        onJoin: (source) => loop.add(source),
        onWarning: (source, error) => this.emit('warning', error, source),
      });
      this.#parts = { home, runners, master, others, loop, workplaces };
      return this.#parts;
    } catch (error) {
      await runners.close();
      await master?.source.close();
      await home.release();
      throw error;
    }
  }

  async #becomeReady(): Promise<void> {
    const joined = this.#token !== undefined && new Promise<void>((resolve) => this.once('connected', () => resolve()));
    try {
      const { runners, others } = await this.#starting;
      await Promise.all([joined, runners.required, others.opened]);
    } catch (error) {
      this.#fail(asKnownError(error));
      await this.close();
      throw error;
    }
  }

  #makeLoop(runners: Runners, workplaces: Workplaces, files: FileCache): WorkLoop {
    const clock = this.#clock;
    const prepare = (origin: Parameters<Workplaces['prepare']>[0], signal: AbortSignal) =>
      workplaces.prepare(origin, { publisher: origin.publisher, signal });
    const fetchFiles = (origin: FileOrigin, signal: AbortSignal) => files.fetch(origin, signal);
    return new WorkLoop({
      clock,
      capacity: new Capacity(this.#concurrency, () => clock.now()),
      execute: (lease, stop) => execute({ runner: (kind) => runners.find(kind), clock, prepare, fetchFiles }, lease, stop),
      onFault: ({ name }, fault) =>
        this.#log.error('a claim failed', {
          source: name,
          fault,
          hint: 'No action needed if it passes; it is retried. Otherwise report it with the log at LOG_LEVEL=debug.',
        }),
      onStart: ({ job }, { name }) => this.emit('job', { id: job.id, channel: job.channel, attempt: job.attempt, source: name }),
      onEnd: ({ job }, outcome, ms, { name }) => this.#count(job.id, outcome, ms, name),
    });
  }

  /** Names of its sources, the Master first. */
  get #sources(): readonly string[] {
    return [...(this.#token === undefined ? [] : ['master']), ...(this.#options.sources ?? []).map(({ name }) => name)];
  }

  #describe(runners: Runners['ready']): WorkerFacts {
    const { isolation = '', tier } = runners.get(TASK_MODULE) ?? {};
    const ofMachine = [`os=${process.platform}`, `arch=${process.arch}`, ...(tier === undefined ? [] : [`isolation=${tier}`])];
    if ([...runners.values()].some((runner) => runner.tier === 'container')) ofMachine.push('isolation=container');
    // Duplicates removed: the owner may repeat a label of the machine.
    const labels = [...new Set([...ofMachine, ...(this.#options.labels ?? [])])];
    const platform = `${process.platform} ${process.arch}`;
    return {
      version,
      concurrency: this.#concurrency,
      isolation,
      ...(tier !== undefined && { tier }),
      platform,
      labels,
      runners: [...runners.keys()],
    };
  }

  #listen(source: MasterSource): void {
    source.on('connected', ({ name, peer }) => this.emit('connected', { id: peer.id, name, path: peer.path, connectMs: peer.connectMs }));
    source.on('disconnected', (error) => this.emit('disconnected', error));
    source.on('warning', (error) => this.emit('warning', error, source.name));
  }

  #count(id: string, outcome: Outcome, ms: number, source: string): void {
    this.#counts[outcome.state] += 1;
    this.emit('result', { id, source, state: outcome.state, ms, ...(outcome.state === 'failed' && { code: outcome.error.code }) });
  }

  async #close(): Promise<void> {
    const parts = await this.#starting.catch(() => undefined);
    if (parts === undefined) return;
    await parts.loop.close();
    // Jobs given back should reach other workers now, not when their leases expire.
    const reachable = sourcesOf(parts).filter((source) => source !== parts.master?.source || parts.master.source.master !== undefined);
    await flush(reachable, GIVE_BACK_MS);
    await Promise.all([parts.master?.source.close(), parts.others.close()]);
    await parts.runners.close();
    await parts.workplaces.close();
    await parts.home.release();
  }

  protected override onListenerError(error: PeerworkError): void {
    this.#log.error(error.message, { code: error.code });
  }

  #fail(error: PeerworkError): void {
    if (this.#closing !== undefined) return;
    if (this.listenerCount('error') > 0) this.emit('error', error);
    else this.#log.error(error.message, { code: error.code });
  }
}

function sourcesOf({ master, others }: Pick<Parts, 'master' | 'others'>): readonly Source[] {
  return [...(master === undefined ? [] : [master.source]), ...others.ready];
}

async function flush(sources: readonly Source[], withinMs: number): Promise<void> {
  await within({ withinMs }, (signal) => Promise.all(sources.map((source) => source.flush(signal))));
}
