import { PeerworkError } from '../../../errors.js';
import { isRedisPlace, type RedisPlace, readRedisPlace } from '../../../kit/redis-url.js';
import { conceal, withoutPassword } from '../../../log.js';
import type { SourceSetup } from '../../../sources/setup.js';
import { DEFAULT_QUEUE, DEFAULT_REDIS_HOST, DEFAULT_REDIS_PORT, DEFAULT_TIMING } from '../defaults.js';
import { DoryError } from '../errors.js';
import { openAccess } from './credentials.js';
import { DorySource } from './dory-source.js';
import { Journal } from './journal.js';
import { concealPassword, limitedLog, Settings } from './settings.js';
import type { OperationalSettings } from './shapes.js';
import type { DoryTiming } from './timing.js';

export interface DorySourceOptions {
  // generated from dorySource by `npm run generate`
  /**
   * The dory-api to take runs from. Containers must be able to reach it too; `localhost` is rewritten for them. Default: from the stored
   * credentials.
   */
  readonly apiBaseUrl?: string;
  /** This Worker’s key for the dory-api, `dwk_…`. Default: from the stored credentials, including the new key of a later login. */
  readonly apiKey?: string;
  /** File of the stored credentials. Default: `~/.dory/credentials`. */
  readonly credentialsFile?: string;
  /** URL of the Redis of the run queue, or `redis+sentinel://host,host/primary`. Default: built from `redis`, else `redis://localhost:6379`. */
  readonly redisUrl?: string;
  /** The same Redis without a URL, if `redisUrl` is absent. Default: none. */
  readonly redis?: { readonly host: string; readonly port: number; readonly password?: string };
  /** The BullMQ queue of the runs. Default: `run-execution`. */
  readonly queue?: string;
  /** Id of this Worker in the dory-api; each process needs its own. Default: `dory-worker-` and the process id. */
  readonly workerId?: string;
  /** This machine's settings, used where the API sets nothing else. Default: none. */
  readonly settings?: OperationalSettings;
  /** Ignore the settings that the API serves. Default: `false`. */
  readonly pinned?: boolean;
  /** Path of the heartbeat call. Default: `/api/workers/heartbeat`. */
  readonly heartbeatPath?: string;
  /** Timings of the protocol; tests shorten them. Default: the protocol’s. */
  readonly timing?: Partial<DoryTiming>;
  // end
}

/** Throws `option-invalid`. */
function placeOf(url: string | undefined, redis: DorySourceOptions['redis']): RedisPlace {
  if (url === undefined) {
    const { host, port, password = '' } = redis ?? { host: DEFAULT_REDIS_HOST, port: DEFAULT_REDIS_PORT };
    return { kind: 'server', host, port, password, username: '', secure: false, db: 0 };
  }
  if (!isRedisPlace(url))
    throw new PeerworkError('option-invalid', `the address of the run queue's Redis ${withoutPassword(url)} cannot be used`);
  return readRedisPlace(url);
}

/** Serves a dory-api in place of dory-worker. Opening the source rejects with `dory-key-…` or `dory-runner-missing`. */
export function dorySource(options: DorySourceOptions = {}): SourceSetup {
  return {
    name: 'dory',
    needs: ['crawl'],
    open: async ({ runners, folder, clock, log: workerLog, warning }) => {
      if (!runners.includes('crawl')) throw new DoryError('dory-runner-missing');
      const access = openAccess(options);
      const workerId = options.workerId ?? `dory-worker-${process.pid}`;
      const settings = new Settings(workerId, options.settings ?? {}, options.pinned ?? false);
      const log = limitedLog(workerLog, () => settings.logLevel);
      const timing: DoryTiming = { ...DEFAULT_TIMING, ...options.timing };
      const { redisUrl, redis } = options;
      concealPassword(redisUrl);
      if (redis?.password !== undefined) conceal(redis.password);
      const place = placeOf(redisUrl, redis);
      // Loaded lazily: this takes a while, and programs that embed a Worker for other sources never need it.
      const [{ RunQueue }, { SharedMarks }] = await Promise.all([import('./run-queue.js'), import('./shared-marks.js')]);
      const journal = await Journal.open(folder, log);
      const name = options.queue ?? DEFAULT_QUEUE;
      const marks = new SharedMarks({ redis: place, queue: name, workerId, staleMs: timing.staleMs, clock, log });
      const queue = new RunQueue({ name, redis: place, workerId, timing, clock, log, warning });
      return new DorySource({
        ...{ workerId, access, settings, queue, marks, journal, timing, clock, log, warning },
        heartbeatPath: options.heartbeatPath,
      });
    },
  };
}
