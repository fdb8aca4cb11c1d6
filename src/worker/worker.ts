import { EventEmitter } from 'node:events';
import { availableParallelism, hostname } from 'node:os';
import { type Clock, systemClock } from '../clock.js';
import { isReservedLabel } from '../config/labels.js';
import { asPeerworkError, PeerworkError } from '../errors.js';
import type { Outcome } from '../job/job.js';
import type { Source } from '../job/source.js';
import { within } from '../kit/deadline.js';
import { type Log, logToStderr } from '../log.js';
import { keepInspectorShut } from '../sandbox/inspector.js';
import type { MasterSource, WorkerFacts } from '../sources/master/master-source.js';
import { Outbox } from '../sources/outbox.js';
import { loadOrCreateKeyFile } from '../swarm/key-file.node.js';
import { parseToken, type Token } from '../swarm/token.js';
import type { Workplaces } from '../task/workplace.js';
import { version } from '../version.js';
import { Capacity } from './capacity.js';
import { execute } from './execute.js';
import { DEFAULT_HOME, type Home, takeHome } from './home.js';
import { joinMaster } from './join-master.js';
import { npmOf, openWorkplaces } from './open-workplaces.js';
import type { WorkerEvents, WorkerOptions, WorkerStatus } from './options.js';
import { Runners, TASK_MODULE } from './runners.js';
import { Sources } from './sources.js';
import { WorkLoop } from './work-loop.js';

const DEFAULT_DRAIN_MS = 60_000;
/** How long a drain waits for the sources to acknowledge what is in their outboxes; the rest is delivered at the next start. */
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
 * Finds its Master, and opens its other sources, does their jobs, and gives back the results, for as long as it lives.
 *
 * It starts when it is made, and works as soon as one source and the runner of task modules are there; the others join when they are ready. `ready`
 * resolves when it has joined its Master for the first time, and has what the owner demands: its sources, and the runners that are required. It rejects, and
 * the Worker is closed, if one of them cannot be had. `drain` finishes or gives back what it holds and flushes the outboxes; `close` gives everything
 * back at once.
 */
export class Worker extends EventEmitter<WorkerEvents> {
  readonly ready: Promise<void>;
  readonly name: string;
  readonly #options: WorkerOptions;
  readonly #token: Token | undefined;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #concurrency: number;
  readonly #ended = { completed: 0, failed: 0, released: 0 };
  readonly #starting: Promise<Parts>;
  #parts: Parts | undefined;
  #closing: Promise<void> | undefined;

  /** Throws `token-missing` if there is nobody to work for, another `token-…` error if the token cannot be used, `label-reserved`. */
  constructor(options: string | WorkerOptions) {
    super();
    this.#options = typeof options === 'string' ? { token: options } : options;
    const { token, sources = [], labels = [] } = this.#options;
    const reserved = labels.find(isReservedLabel);
    if (reserved !== undefined) throw new PeerworkError('label-reserved', reserved);
    if (!token && sources.length === 0) throw new PeerworkError('token-missing');
    this.#token = token ? parseToken(token) : undefined;
    this.name = this.#options.name ?? hostname();
    this.#clock = this.#options.clock ?? systemClock;
    this.#log = this.#options.log ?? logToStderr(this.#options.loglevel ?? 'warn');
    this.#concurrency = this.#options.concurrency ?? availableParallelism();
    // Its jobs may run as the same user, and so may send it any signal.
    keepInspectorShut();
    this.#starting = this.#start();
    this.ready = this.#getReady();
    this.ready.catch(() => {});
  }

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
      ...this.#ended,
      outbox: (joined?.outbox.size ?? 0) + (others?.unsent ?? 0),
      isolation: runners?.get(TASK_MODULE)?.isolation ?? '',
      traffic: master?.peer.rpc.traffic ?? { sent: 0, received: 0 },
    };
  }

  /** Takes no more jobs, finishes what runs (or gives it back after `drainMs`), delivers what is in the outboxes, then closes. */
  async drain(): Promise<void> {
    const parts = await this.#starting;
    await parts.loop.drain(this.#options.drainMs ?? DEFAULT_DRAIN_MS);
    await flush(sourcesOf(parts), FLUSH_MS);
    await this.close();
  }

  /** Gives everything back and ends at once. */
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
    // Find out what this machine can do; meanwhile we look for the Master.
    const runners = new Runners({
      ...{ ...shared, worker, concurrency, home, options },
      // Without that of task modules, which every Worker has, it is not described yet.
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
        const facts = async () => {
          await runners.taskModules;
          return this.#describe(runners.ready);
        };
        const source = joinMaster({ ...shared, token: this.#token, identity: keys.keyPair, name: worker, outbox, facts, options });
        master = { source, outbox };
        this.#listen(source);
        source.start();
      }
      const workplaces = openWorkplaces(home, options, shared, (synced) => this.emit('synced', synced));
      await runners.taskModules;
      const loop = this.#makeLoop(runners, workplaces);
      loop.stopped.addEventListener('abort', () => void Promise.all([workplaces.close(), runners.close()]));
      if (master !== undefined) loop.add(master.source);
      const others = new Sources({
        ...{ ...shared, worker, concurrency, runners, keys, folder: home.sources, setups: options.sources ?? [], npm: npmOf(options) },
        onJoin: (source) => loop.add(source),
        onTrouble: (source, error) => this.emit('trouble', error, source),
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

  async #getReady(): Promise<void> {
    const joined = this.#token !== undefined && new Promise<void>((resolve) => this.once('connected', () => resolve()));
    try {
      const { runners, others } = await this.#starting;
      await Promise.all([joined, runners.required, others.opened]);
    } catch (error) {
      this.#fail(asPeerworkError(error));
      await this.close();
      throw error;
    }
  }

  #makeLoop(runners: Runners, workplaces: Workplaces): WorkLoop {
    const clock = this.#clock;
    const prepare = (origin: Parameters<Workplaces['prepare']>[0], signal: AbortSignal) =>
      workplaces.prepare(origin, { publisher: origin.publisher, signal });
    return new WorkLoop({
      clock,
      capacity: new Capacity(this.#concurrency, () => clock.now()),
      execute: (lease, stop) => execute({ runner: (kind) => runners.find(kind), clock, prepare }, lease, stop),
      onFault: ({ name }, fault) => this.#log.error('a claim failed', { source: name, fault }),
      onStart: ({ job }, { name }) => this.emit('job', { id: job.id, channel: job.channel, attempt: job.attempt, source: name }),
      onEnd: ({ job }, outcome, ms, { name }) => this.#count(job.id, outcome, ms, name),
    });
  }

  /** Their names, the Master first. */
  get #sources(): readonly string[] {
    return [...(this.#token === undefined ? [] : ['master']), ...(this.#options.sources ?? []).map(({ name }) => name)];
  }

  #describe(runners: Runners['ready']): WorkerFacts {
    const { isolation = '', tier } = runners.get(TASK_MODULE) ?? {};
    const ofMachine = [`os=${process.platform}`, `arch=${process.arch}`, ...(tier === undefined ? [] : [`isolation=${tier}`])];
    if ([...runners.values()].some((runner) => runner.tier === 'container')) ofMachine.push('isolation=container');
    // Those of the machine, and those that the owner gave it.
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
    source.on('trouble', (error) => this.emit('trouble', error, source.name));
  }

  #count(id: string, outcome: Outcome, ms: number, source: string): void {
    this.#ended[outcome.state] += 1;
    this.emit('result', { id, source, state: outcome.state, ms, ...(outcome.state === 'failed' && { code: outcome.error.code }) });
  }

  async #close(): Promise<void> {
    const parts = await this.#starting.catch(() => undefined);
    if (parts === undefined) return;
    await parts.loop.close();
    // What was given back should reach others now, not when its lease ends.
    const reachable = sourcesOf(parts).filter((source) => source !== parts.master?.source || parts.master.source.master !== undefined);
    await flush(reachable, GIVE_BACK_MS);
    await Promise.all([parts.master?.source.close(), parts.others.close()]);
    await parts.runners.close();
    await parts.workplaces.close();
    await parts.home.release();
  }

  #fail(error: PeerworkError): void {
    if (this.#closing !== undefined) return;
    this.#log.error(error.message, { code: error.code });
    if (this.listenerCount('error') > 0) this.emit('error', error);
  }
}

function sourcesOf({ master, others }: Pick<Parts, 'master' | 'others'>): readonly Source[] {
  return [...(master === undefined ? [] : [master.source]), ...others.ready];
}

async function flush(sources: readonly Source[], withinMs: number): Promise<void> {
  await within({ withinMs }, (signal) => Promise.all(sources.map((source) => source.flush(signal))));
}
