import { conceal, type Log, type LogLevel, logLevels } from '../../../log.js';
import { DEFAULT_CONTAINERS, DEFAULT_MAX_RUNS } from '../defaults.js';
import type { HeartbeatReply, OperationalSettings, RunConfig } from './shapes.js';

/** What one run is run with. */
export interface RunSettings {
  readonly image: string | undefined;
  readonly containers: number;
  readonly crawlerRedisUrl: string | undefined;
}

/**
 * The operational settings in force. From the API: run > this Worker > all Workers; then this machine's own; then the default. A Worker
 * that is pinned (CONFIG_SOURCE=local) ignores what the API serves for Workers *and* for a run: its own beat the default, nothing else.
 *
 * What changes while runs go on is for the next ones: each run has asked once.
 */
export class Settings {
  readonly pinned: boolean;
  readonly #own: OperationalSettings;
  readonly #workerId: string;
  #forAll: OperationalSettings = {};
  #forThis: OperationalSettings = {};
  #version: string | number | undefined;

  constructor(workerId: string, own: OperationalSettings, pinned: boolean) {
    this.#workerId = workerId;
    this.#own = own;
    concealPassword(own.crawlerRedisUrl);
    this.pinned = pinned;
  }

  /** Of what the API served last; told back to it with each heartbeat. */
  get version(): string | number | undefined {
    return this.#version;
  }

  get maxConcurrentRuns(): number {
    return this.#of('maxConcurrentRuns') ?? DEFAULT_MAX_RUNS;
  }

  get logLevel(): LogLevel | undefined {
    return this.#of('logLevel');
  }

  get crawlerRedisUrl(): string | undefined {
    return this.#of('crawlerRedisUrl');
  }

  /** True if something is different now. */
  apply({ config, configVersion }: HeartbeatReply): boolean {
    if (config === undefined) return false;
    this.#version = configVersion;
    if (this.pinned) return false;
    const before = JSON.stringify([this.#forAll, this.#forThis]);
    const { workers, ...forAll } = config;
    concealPassword(config.crawlerRedisUrl);
    concealPassword(workers[this.#workerId]?.crawlerRedisUrl);
    this.#forAll = forAll;
    this.#forThis = workers[this.#workerId] ?? {};
    return JSON.stringify([this.#forAll, this.#forThis]) !== before;
  }

  ofRun(run: Pick<RunConfig, 'dockerImage' | 'containerCount'>): RunSettings {
    const of = this.pinned ? {} : run;
    return {
      image: of.dockerImage ?? this.#of('dockerImage') ?? (this.pinned ? run.dockerImage : undefined),
      containers: of.containerCount ?? this.#of('containerCount') ?? DEFAULT_CONTAINERS,
      crawlerRedisUrl: this.crawlerRedisUrl,
    };
  }

  /** A helper has as many containers as the run, unless this Worker's owner wants fewer of them. */
  asHelper(run: Pick<RunConfig, 'dockerImage' | 'containerCount'>): RunSettings {
    const { image, crawlerRedisUrl } = this.ofRun(run);
    const wanted = run.containerCount ?? this.#of('containerCount') ?? DEFAULT_CONTAINERS;
    const cap = this.pinned ? (this.#own.containerCount ?? DEFAULT_CONTAINERS) : wanted;
    return { image, crawlerRedisUrl, containers: Math.min(wanted, cap) };
  }

  #of<K extends keyof OperationalSettings>(name: K): OperationalSettings[K] {
    return this.#forThis[name] ?? this.#forAll[name] ?? this.#own[name];
  }
}

/** The API may ask for fewer lines of this source, never for more than the Worker's owner does. */
export function quietened(log: Log, level: () => LogLevel | undefined): Log {
  const wanted = (of: LogLevel) => logLevels.indexOf(of) <= logLevels.indexOf(level() ?? 'debug');
  return {
    error: (message, fields) => wanted('error') && log.error(message, fields),
    warn: (message, fields) => wanted('warn') && log.warn(message, fields),
    info: (message, fields) => wanted('info') && log.info(message, fields),
    debug: (message, fields) => wanted('debug') && log.debug(message, fields),
    with: (fields) => quietened(log.with(fields), level),
  };
}

/** Of an address: it must not get into a log, wherever it came from. */
export function concealPassword(url: string | undefined): void {
  const [, password = ''] = /^[a-z+]+:\/\/[^@/]*?:([^@/]*)@/i.exec(url ?? '') ?? [];
  conceal(password);
  try {
    conceal(decodeURIComponent(password));
  } catch {
    // As it stands, then.
  }
}
