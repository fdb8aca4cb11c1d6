import { conceal, type Log, type LogLevel, logLevels } from '../../../log.js';
import { DEFAULT_CONTAINERS, DEFAULT_MAX_RUNS } from '../defaults.js';
import type { HeartbeatReply, OperationalSettings, RunConfig } from './shapes.js';

/** Settings that apply to one run. */
export interface RunSettings {
  readonly image: string | undefined;
  readonly containers: number;
  readonly crawlerRedisUrl: string | undefined;
}

/**
 * The operational settings in force. Settings from the API take precedence, those of the run over those of this Worker over those of all
 * Workers; then come this machine's own, then the defaults. A pinned Worker (CONFIG_SOURCE=local) ignores what the API serves for Workers
 * *and* for a run, and uses only its own settings and the defaults.
 *
 * Changes apply to later runs; each run reads its settings once.
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

  /** Version of the configuration that the API served last; sent back with each heartbeat. */
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

  /** Applies the configuration in a heartbeat's reply; returns true if anything changed. */
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
    const requested = this.pinned ? {} : run;
    return {
      image: requested.dockerImage ?? this.#of('dockerImage') ?? (this.pinned ? run.dockerImage : undefined),
      containers: requested.containerCount ?? this.#of('containerCount') ?? DEFAULT_CONTAINERS,
      crawlerRedisUrl: this.crawlerRedisUrl,
    };
  }

  /** A helper runs as many containers as the run, unless this Worker's owner allows fewer. */
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

/** Lets the API lower the log level of this source, but never raise it above the owner's. */
export function limitedLog(log: Log, level: () => LogLevel | undefined): Log {
  const enabled = (severity: LogLevel) => logLevels.indexOf(severity) <= logLevels.indexOf(level() ?? 'debug');
  return {
    error: (message, fields) => enabled('error') && log.error(message, fields),
    warn: (message, fields) => enabled('warn') && log.warn(message, fields),
    info: (message, fields) => enabled('info') && log.info(message, fields),
    debug: (message, fields) => enabled('debug') && log.debug(message, fields),
    with: (fields) => limitedLog(log.with(fields), level),
  };
}

/** Redacts the password of a URL from all logs, wherever the URL came from. */
export function concealPassword(url: string | undefined): void {
  const [, password = ''] = /^[a-z+]+:\/\/[^@/]*?:([^@/]*)@/i.exec(url ?? '') ?? [];
  conceal(password);
  try {
    conceal(decodeURIComponent(password));
  } catch {
    // Malformed encoding: only the literal text is redacted.
  }
}
