/**
 * The options of constructors: `new Worker({ … })`, `new Master({ … })` and the objects passed to them. Options that the command
 * line has too take meaning and default from its tables. From this, `npm run generate` writes the interfaces in the code and the
 * tables in docs/embedding.md.
 */
import { DEFAULT_LOG_LEVEL, logLevels } from '../log.js';
import { commonOptions } from './common.js';
import { type ConstructorOption, type ConstructorOptions, derivedFrom } from './constructor-option.js';
import { containerOptions } from './containers.js';
import { crawlOptions } from './core.js';
import { DEFAULT_APPROVAL, DEFAULT_CONTAINER_LOG_MB, DEFAULT_HTTP_HOST, DEFAULT_HTTP_PORT, DEFAULT_MASTER_NAME } from './defaults.js';
import { masterOptions } from './master.js';
import { workerOptions } from './worker.js';

const logOptions: ConstructorOptions = {
  loglevel: derivedFrom(commonOptions.logLevel, 'LogLevel', {
    default: `\`${DEFAULT_LOG_LEVEL}\``,
    meaning: `Log verbosity: ${logLevels.map((level) => `\`${level}\``).join(', ')}. Lines go to stderr.`,
  }),
  log: { type: 'Log', default: 'stderr', meaning: 'A log of your own: `error`, `warn`, `info`, `debug`, `with(fields)`.' },
  clock: { type: 'Clock', default: "the system's", meaning: 'Source of time, for tests.' },
};

const transferEncryptToken = derivedFrom(commonOptions.transferEncryptToken, 'string | null', {
  meaning: 'Additional AES secret of 32 characters, shared by the Master and its Workers. Null is none.',
});

const workerConstructor: ConstructorOptions = {
  token: {
    type: 'string | null',
    default: 'without `sources`: `token` of the environment',
    meaning: "The Master's token. Required unless there are other `sources`.",
  },
  sources: {
    type: 'readonly SourceSetup[]',
    default: 'none',
    meaning: 'Other queues to take jobs from, in addition to the Master or instead of it. They share the slots fairly.',
  },
  runners: {
    type: 'readonly RunnerSetup[]',
    default: 'none',
    meaning:
      'Other ways to run jobs than task modules, such as [`containerRunner()`](containers.md#the-owners-say) and [`crawlRunner()`](crawls.md#the-owners-say).',
  },
  transferEncryptToken,
  name: derivedFrom(commonOptions.name, 'string'),
  concurrency: derivedFrom(workerOptions.concurrency, 'number'),
  memoryMb: derivedFrom(workerOptions.memoryMb, 'number'),
  allowInstallScripts: derivedFrom(workerOptions.allowInstallScripts, 'boolean'),
  npmCredentials: derivedFrom(commonOptions.npmCredentials, 'readonly string[]'),
  labels: derivedFrom(workerOptions.labels, 'readonly string[]'),
  taskNetwork: derivedFrom(workerOptions.taskNetwork, 'OwnerNetwork', {
    meaning:
      "Network that jobs may reach: `'none'`; `'internet'`, which means public addresses only; or a list of hosts, which may be in your own network ([policy](network.md)). Anything less than `'internet'` needs the stronger sandbox.",
  }),
  sandbox: derivedFrom(workerOptions.sandbox, "'auto' | 'required' | 'off'"),
  bubblewrap: derivedFrom(workerOptions.bubblewrap, 'string'),
  home: derivedFrom(workerOptions.home, 'string'),
  storeQuotaMb: derivedFrom(workerOptions.storeQuotaMb, 'number'),
  fileQuotaMb: derivedFrom(workerOptions.fileQuotaMb, 'number'),
  trackers: derivedFrom(commonOptions.trackers, 'readonly string[]'),
  ice: derivedFrom(commonOptions.ice, 'readonly string[]', { meaning: `${commonOptions.ice.meaning} \`[]\` for none.` }),
  drainMs: derivedFrom(workerOptions.drainMs, 'number', {
    meaning: 'How long `drain` lets running jobs continue before it gives them back.',
  }),
  ...logOptions,
};

const masterConstructor: ConstructorOptions = {
  task: {
    type: 'TaskSource | Readonly<Record<string, TaskSource>>',
    default: 'none',
    meaning: 'A folder with a task, an `execAssets` object, or an object of these by channel.',
  },
  execAssets: { type: 'TaskSource', default: 'none', meaning: 'Another name of `task`.' },
  ledger: derivedFrom(masterOptions.ledger, 'string', {
    meaning: 'Where the jobs are stored: `sqlite:FILE`, `postgres://…`, which several Masters may share, or `memory:`.',
  }),
  ledgerListen: derivedFrom(masterOptions.ledgerListen, 'string'),
  files: derivedFrom(masterOptions.files, 'string', {
    default: 'next to the ledger; for `memory:` a temporary folder',
  }),
  keyFile: derivedFrom(masterOptions.keyFile, 'string', {
    default: 'next to the ledger; `.peerwork/master.key` for Postgres',
    meaning:
      "The Master's private key. Masters that share a ledger share it. With `memory:` and no key file, each start makes a new key, and token.",
  }),
  token: {
    type: 'string | null',
    default: 'made from the key file',
    meaning: 'A token made earlier; it must belong to the key file.',
  },
  name: derivedFrom(commonOptions.name, 'string', {
    default: `\`${DEFAULT_MASTER_NAME}\``,
    meaning: 'Name of this Master as Workers see it.',
  }),
  trackers: derivedFrom(commonOptions.trackers, 'readonly string[]', {
    default: 'public trackers',
    meaning: 'Trackers used for rendezvous, written into the token.',
  }),
  ice: derivedFrom(commonOptions.ice, 'readonly string[]', {
    default: 'public STUN',
    meaning: 'STUN and TURN servers as URLs, written into the token. `[]` for none.',
  }),
  transferEncryptToken,
  leaseMs: derivedFrom(masterOptions.leaseMs, 'number'),
  watch: derivedFrom(masterOptions.watch, 'boolean'),
  npmCredentials: derivedFrom(commonOptions.npmCredentials, 'readonly string[]'),
  retention: derivedFrom(masterOptions.retain, 'Retention', {
    meaning: 'How long ended jobs are kept: `{ completedMs, failedMs, cancelledMs }`, each optional.',
  }),
  tunnels: {
    type: 'Readonly<Record<string, string>>',
    default: 'none',
    meaning: 'Addresses that jobs may reach through a [tunnel](tunnel.md): `host:port` by the name that their task.json declares.',
  },
  children: {
    type: 'Readonly<Record<string, ChildBounds>>',
    default: 'none',
    meaning:
      "Where children of a channel's jobs may go, in addition to what its task.json [declares](jobs.md#graphs): `{ crawl: { channels: ['page'] } }`. For channels whose workers come over HTTP it is the only declaration.",
  },
  http: {
    type: 'HttpOptions',
    default: 'none',
    meaning:
      'Address of the API, the dashboard and the routes of `serve`, as [`HttpOptions`](#http). `express()` and `fastify()` serve them in your own server.',
  },
  serve: {
    type: 'readonly ServerSetup[]',
    default: 'none',
    meaning: '[Foreign systems](sources/README.md) whose clients and workers are served too.',
  },
  approval: derivedFrom(masterOptions.approval, "'auto' | 'manual'", { default: `\`${DEFAULT_APPROVAL}\`` }),
  admit: {
    type: '(id: string, name: string) => ErrorCode | undefined',
    default: 'every Worker',
    meaning: 'Decides who may work: an error code such as `worker-revoked` refuses a Worker.',
  },
  onResults: { type: '(result: PushResult) => void', default: 'none', meaning: 'Called with each result.' },
  ...logOptions,
};

const httpConstructor: ConstructorOptions = {
  host: { type: 'string', default: `\`${DEFAULT_HTTP_HOST}\``, meaning: 'Address to listen on.' },
  port: { type: 'number', default: String(DEFAULT_HTTP_PORT), meaning: 'Port to listen on; 0 takes a free one.' },
  fallBack: { type: 'boolean', default: '`false`', meaning: 'Take a free port if that one is in use.' },
  tokens: derivedFrom(masterOptions.httpTokens, 'readonly string[]', {
    meaning:
      'API tokens, each with its scope: `read:…`, `lease:…`, `work:…` or `admin:…`. Without any, only this machine has access, and may do everything.',
  }),
  origins: derivedFrom(masterOptions.httpOrigins, 'readonly string[]', {
    meaning: 'Origins of other web pages that may use the API (CORS), such as `http://localhost:3001`.',
  }),
};

const containerConstructor: ConstructorOptions = {
  engine: derivedFrom(containerOptions.containers, "EngineKind | 'auto'", {
    meaning: 'Container engine; `auto` takes docker, else podman.',
  }),
  images: derivedFrom(containerOptions.images, 'readonly string[]'),
  trustedImages: derivedFrom(containerOptions.trustedImages, 'readonly string[]', {
    meaning: `${containerOptions.trustedImages.meaning} Patterns as in \`images\`, names with a digest (\`name@sha256:…\`), or ids.`,
  }),
  pull: derivedFrom(containerOptions.pull, 'PullPolicy', {
    meaning: `${containerOptions.pull.meaning} \`missing\`, \`always\` or \`never\`.`,
  }),
  pullTimeoutMs: derivedFrom(containerOptions.pullTimeoutMs, 'number'),
  imageQuotaMb: derivedFrom(containerOptions.imageQuotaMb, 'number'),
  memoryMb: derivedFrom(containerOptions.containerMemoryMb, 'number', {
    default: "three quarters of the engine's machine, and the Worker's `memoryMb` for jobs that request none",
  }),
  cpus: derivedFrom(containerOptions.containerCpus, 'number'),
  pids: derivedFrom(containerOptions.containerPids, 'number'),
  diskMb: derivedFrom(containerOptions.containerDiskMb, 'number'),
  logMb: derivedFrom(containerOptions.containerLogMb, 'number', { default: `${DEFAULT_CONTAINER_LOG_MB} MiB` }),
  network: derivedFrom(containerOptions.containerNetwork, 'OwnerNetwork', { default: "the Worker's `taskNetwork`" }),
  unfiltered: derivedFrom(containerOptions.containersUnfiltered, 'boolean'),
  environment: {
    type: 'NodeJS.ProcessEnv',
    default: '`process.env`',
    meaning: 'Variables that lead to programs and to the engine.',
  },
};

const required: ConstructorOption = {
  type: 'boolean',
  default: '`false`',
  meaning: 'Without a container engine the Worker does not start. By default it works without these jobs and logs the reason.',
};

const containerRunnerConstructor: ConstructorOptions = { required };

const crawlRunnerConstructor: ConstructorOptions = {
  required,
  maxContainers: derivedFrom(crawlOptions.crawlContainers, 'number'),
  image: {
    type: 'string',
    default: "peerwork's own crawler, built when it is first needed",
    meaning: 'Image for crawls that name none.',
  },
};

/** Constructors by the name that marks their generated parts. */
export const constructors = {
  workerConstructor,
  masterConstructor,
  httpConstructor,
  containerConstructor,
  containerRunnerConstructor,
  crawlRunnerConstructor,
} as const;
